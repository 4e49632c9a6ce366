//! JSON-RPC 2.0: what a request is, and how it is answered.

use serde_json::{Value, json};

use crate::failed::Failed;

/// Something that is asked for.
pub(super) struct Request {
    /// What to answer under; `None`: it is not to be answered.
    pub(super) id: Option<Value>,
    pub(super) method: String,
    /// An object, empty if there was none.
    pub(super) parameters: Value,
}

/// Why something is not done. The codes are those of JSON-RPC; everything that this program knows better is one of its own codes.
pub(super) enum Refusal {
    /// Not JSON.
    Unreadable,
    /// No request.
    NoRequest(&'static str),
    UnknownMethod,
    BadParameters(String),
    Failed(Failed),
}

impl From<Failed> for Refusal {
    fn from(failed: Failed) -> Self {
        Self::Failed(failed)
    }
}

impl From<sotto_core::Error> for Refusal {
    fn from(error: sotto_core::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl Request {
    /// Reads one. A refusal comes with the id to answer under, as far as that can be known.
    pub(super) fn read(line: &str) -> Result<Self, (Value, Refusal)> {
        let value: Value = serde_json::from_str(line).map_err(|_| (Value::Null, Refusal::Unreadable))?;
        let Value::Object(mut object) = value else {
            return Err((Value::Null, Refusal::NoRequest("a request is one object; there are no batches")));
        };
        let id = object.remove("id");
        let under = match &id {
            None => Value::Null,
            Some(id @ (Value::String(_) | Value::Number(_) | Value::Null)) => id.clone(),
            Some(_) => return Err((Value::Null, Refusal::NoRequest("an id is a string or a number"))),
        };
        let refuse = |why| Err((under.clone(), Refusal::NoRequest(why)));
        if object.remove("jsonrpc") != Some("2.0".into()) {
            return refuse("jsonrpc is \"2.0\"");
        }
        let Some(Value::String(method)) = object.remove("method") else { return refuse("a method has a name") };
        let parameters = match object.remove("params") {
            None => json!({}),
            Some(parameters @ Value::Object(_)) => parameters,
            Some(_) => return refuse("params are an object"),
        };
        if !object.is_empty() {
            return refuse("there is jsonrpc, id, method and params, and nothing else");
        }
        Ok(Self { id, method, parameters })
    }
}

/// What is answered.
pub(super) fn answer(id: &Value, result: Result<Value, Refusal>) -> Value {
    match result {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err(refusal) => json!({ "jsonrpc": "2.0", "id": id, "error": error(refusal) }),
    }
}

/// What nobody asked for.
pub(super) fn notification(method: &str, parameters: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "method": method, "params": parameters })
}

fn error(refusal: Refusal) -> Value {
    let (number, failed) = match refusal {
        Refusal::Unreadable => (-32_700, Failed::new("unreadable", "this is no JSON")),
        Refusal::NoRequest(why) => (-32_600, Failed::new("no_request", why)),
        Refusal::UnknownMethod => (-32_601, Failed::new("unknown_method", "there is no such method")),
        Refusal::BadParameters(why) => (-32_602, Failed::new("bad_parameters", why)),
        Refusal::Failed(failed) => (-32_000, failed),
    };
    let data = json!({ "code": failed.code, "is_retryable": failed.is_retryable });
    json!({ "code": number, "message": failed.message, "data": data })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(line: &str) -> (Value, i64) {
        let Err((id, refusal)) = Request::read(line) else { return (Value::Null, 0) };
        (id, error(refusal)["code"].as_i64().unwrap())
    }

    #[test]
    fn what_is_no_request_is_refused_under_its_id() {
        assert_eq!(refused("{"), (Value::Null, -32_700));
        assert_eq!(refused("[]"), (Value::Null, -32_600));
        assert_eq!(refused(r#"{"id":1,"method":"x"}"#), (1.into(), -32_600));
        assert_eq!(refused(r#"{"jsonrpc":"2.0","id":{},"method":"x"}"#), (Value::Null, -32_600));
        assert_eq!(refused(r#"{"jsonrpc":"2.0","id":"a","method":7}"#), ("a".into(), -32_600));
        assert_eq!(refused(r#"{"jsonrpc":"2.0","id":"a","method":"x","params":[]}"#), ("a".into(), -32_600));
        assert_eq!(refused(r#"{"jsonrpc":"2.0","id":"a","method":"x","parms":{}}"#), ("a".into(), -32_600));
        let request = Request::read(r#"{"jsonrpc":"2.0","method":"x"}"#).ok().unwrap();
        assert!(request.id.is_none() && request.parameters == json!({}), "it is not answered");
    }
}
