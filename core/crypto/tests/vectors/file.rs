//! The format of a vector.
//!
//! ```text
//! # What is true, in a sentence.
//! kind: token-hash
//! expect: accepted            or the code of the refusal
//!
//! token: 0102...              what the reader is given, in hex unless it is text or a number
//! -> hash: 03ff...            what it must answer, when it accepts
//! ```

/// One scenario.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Vector {
    pub(crate) about: String,
    pub(crate) kind: String,
    pub(crate) expect: String,
    pub(crate) given: Vec<(String, String)>,
    pub(crate) answer: Vec<(String, String)>,
}

impl Vector {
    pub(crate) fn accepted(kind: &str, about: &str) -> Self {
        Self::refused(kind, "accepted", about)
    }

    pub(crate) fn refused(kind: &str, code: &str, about: &str) -> Self {
        let (about, kind, expect) = (about.to_owned(), kind.to_owned(), code.to_owned());
        Self { about, kind, expect, given: Vec::new(), answer: Vec::new() }
    }

    #[must_use]
    pub(crate) fn hex(self, name: &str, bytes: impl AsRef<[u8]>) -> Self {
        let value = hex(bytes);
        self.text(name, value)
    }

    #[must_use]
    pub(crate) fn text(mut self, name: &str, value: impl ToString) -> Self {
        self.given.push((name.to_owned(), value.to_string()));
        self
    }

    pub(crate) fn find(&self, name: &str) -> Option<&str> {
        self.given.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn str(&self, name: &str) -> &str {
        self.find(name).unwrap_or_else(|| panic!("no {name} in a {}", self.kind))
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        unhex(self.str(name))
    }

    pub(crate) fn array<const N: usize>(&self, name: &str) -> [u8; N] {
        self.bytes(name).try_into().unwrap()
    }

    pub(crate) fn number(&self, name: &str) -> u64 {
        self.str(name).parse().unwrap()
    }

    pub(crate) fn render(&self) -> String {
        let mut text = format!("# {}\nkind: {}\nexpect: {}\n\n", self.about, self.kind, self.expect);
        for (name, value) in &self.given {
            text += &format!("{name}: {value}\n");
        }
        for (name, value) in &self.answer {
            text += &format!("-> {name}: {value}\n");
        }
        text
    }

    pub(crate) fn parse(text: &str) -> Self {
        let mut vector = Self::refused("", "", "");
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(about) = line.strip_prefix("# ") {
                about.clone_into(&mut vector.about);
                continue;
            }
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no field: {line}"));
            let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
            match (name, name.strip_prefix("-> ")) {
                ("kind", _) => vector.kind = value,
                ("expect", _) => vector.expect = value,
                (_, Some(name)) => vector.answer.push((name.to_owned(), value)),
                (_, None) => vector.given.push((name.to_owned(), value)),
            }
        }
        vector
    }
}

pub(crate) fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "half a byte");
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}
