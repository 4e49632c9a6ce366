//! Whether a value is what a JSON schema says, for the part of JSON Schema that ours use. A word that is not known here is an error: nothing
//! in a schema is believed to be checked that is not.

use serde_json::Value;

/// What of a value is not as a part of a schema (`#/$defs/NAME`) says, if anything.
pub(crate) fn misfit(schema: &Value, part: &Value, value: &Value) -> Option<String> {
    let wrong = |why: &str| Some(format!("{why}: {value} by {part}"));
    for (word, says) in part.as_object().expect("a schema is an object") {
        let found = match word.as_str() {
            "description" | "title" | "$schema" | "$defs" => None,
            "$ref" => {
                let name =
                    says.as_str().and_then(|path| path.strip_prefix("#/$defs/")).expect("a place in this schema");
                misfit(schema, schema["$defs"].get(name).expect("a known place"), value)
            }
            "type" => {
                let mut types = says.as_array().map_or_else(|| std::slice::from_ref(says), Vec::as_slice).iter();
                if types.any(|name| is_of(value, name)) { None } else { wrong("another type") }
            }
            "const" => {
                if value == says {
                    None
                } else {
                    wrong("another value")
                }
            }
            "enum" => {
                if says.as_array().expect("values").contains(value) {
                    None
                } else {
                    wrong("none of them")
                }
            }
            "anyOf" => {
                let fits = says.as_array().expect("schemas").iter().any(|part| misfit(schema, part, value).is_none());
                if fits { None } else { wrong("fits none") }
            }
            "items" => value.as_array().into_iter().flatten().find_map(|item| misfit(schema, says, item)),
            "required" => {
                let mut fields = says.as_array().expect("names").iter().filter_map(Value::as_str);
                if fields.all(|field| value.get(field).is_some()) { None } else { wrong("something is missing") }
            }
            "properties" => {
                let fields = value.as_object().into_iter().flatten();
                fields.filter_map(|(name, field)| misfit(schema, says.get(name)?, field)).next()
            }
            "additionalProperties" => {
                assert_eq!(says, &Value::Bool(false));
                let is_known = |name: &String| part["properties"].get(name).is_some();
                let mut names = value.as_object().into_iter().flatten().map(|(name, _)| name);
                if names.all(is_known) { None } else { wrong("something more") }
            }
            other => unreachable!("a word that is not known: {other}"),
        };
        if found.is_some() {
            return found;
        }
    }
    None
}

fn is_of(value: &Value, name: &Value) -> bool {
    match name.as_str().expect("a name") {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        other => unreachable!("a type that is not known: {other}"),
    }
}

#[test]
fn what_does_not_fit_is_found() {
    let schema: Value = serde_json::from_str(
        r##"{ "$defs": { "pair": { "type": "object", "required": ["a"], "additionalProperties": false,
              "properties": { "a": { "type": ["integer", "null"] }, "b": { "items": { "enum": ["x"] } }, "c": { "anyOf": [{ "const": 1 }] } } } } }"##,
    )
    .unwrap();
    let fits = |text: &str| {
        let part = serde_json::json!({ "$ref": "#/$defs/pair" });
        misfit(&schema, &part, &serde_json::from_str(text).unwrap()).is_none()
    };
    assert!(fits(r#"{"a":1}"#) && fits(r#"{"a":null,"b":["x","x"],"c":1}"#));
    for wrong in [r#"[]"#, "{}", r#"{"a":"1"}"#, r#"{"a":1,"b":["y"]}"#, r#"{"a":1,"c":2}"#, r#"{"a":1,"d":0}"#] {
        assert!(!fits(wrong), "{wrong}");
    }
}
