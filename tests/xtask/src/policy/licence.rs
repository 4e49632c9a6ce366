//! SPDX licence expressions: does one of the ways to read it ask only for licences that are allowed?
//!
//! `AND` binds tighter than `OR`; a slash is an old spelling of `OR`; `WITH` belongs to the licence before it. What cannot be parsed
//! grants nothing.

use std::collections::BTreeSet;

/// Whether the allowed licences satisfy the expression.
pub(super) fn is_granted(expression: &str, allowed: &BTreeSet<&str>) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words = spaced.split_whitespace().collect::<Vec<_>>();
    let mut parser = Parser { words: &words, allowed };
    parser.any() == Some(true) && parser.words.is_empty()
}

struct Parser<'a> {
    words: &'a [&'a str],
    allowed: &'a BTreeSet<&'a str>,
}

/// `None` is an expression that cannot be parsed.
impl<'a> Parser<'a> {
    fn any(&mut self) -> Option<bool> {
        let mut granted = self.all()?;
        while self.next_is("OR") {
            granted |= self.all()?;
        }
        Some(granted)
    }

    fn all(&mut self) -> Option<bool> {
        let mut granted = self.one()?;
        while self.next_is("AND") {
            granted &= self.one()?;
        }
        Some(granted)
    }

    fn one(&mut self) -> Option<bool> {
        if self.next_is("(") {
            let granted = self.any()?;
            return self.next_is(")").then_some(granted);
        }
        let licence = self.word()?;
        if self.next_is("WITH") {
            let exception = self.word()?;
            return Some(self.allowed.contains(format!("{licence} WITH {exception}").as_str()));
        }
        Some(self.allowed.contains(licence))
    }

    fn word(&mut self) -> Option<&'a str> {
        let (word, rest) = self.words.split_first()?;
        self.words = rest;
        (!matches!(*word, "AND" | "OR" | "WITH" | "(" | ")")).then_some(*word)
    }

    fn next_is(&mut self, word: &str) -> bool {
        let is_next = self.words.first() == Some(&word);
        self.words = if is_next { &self.words[1..] } else { self.words };
        is_next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(expression: &str) -> bool {
        is_granted(expression, &BTreeSet::from(["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"]))
    }

    #[test]
    fn one_allowed_choice_is_enough_and_every_demand_is_needed() {
        for expression in
            ["MIT", "MIT OR GPL-3.0", "GPL-3.0 OR MIT", "GPL-3.0/MIT", "MIT AND ISC", "(MIT OR GPL-3.0) AND ISC"]
        {
            assert!(granted(expression), "{expression}");
        }
        for expression in ["GPL-3.0", "MIT AND GPL-3.0", "(MIT AND GPL-3.0) OR GPL-2.0", "ISC AND (GPL-2.0 OR GPL-3.0)"]
        {
            assert!(!granted(expression), "{expression}");
        }
    }

    #[test]
    fn and_binds_tighter_than_or() {
        assert!(granted("MIT OR GPL-3.0 AND GPL-2.0"));
        assert!(!granted("(MIT OR GPL-3.0) AND GPL-2.0"));
    }

    #[test]
    fn an_exception_belongs_to_its_licence() {
        assert!(granted("Apache-2.0 WITH LLVM-exception"));
        assert!(!granted("Apache-2.0") && !granted("MIT WITH LLVM-exception"));
    }

    #[test]
    fn what_cannot_be_parsed_grants_nothing() {
        for expression in ["", "MIT OR", "AND MIT", "(MIT", "MIT)", "MIT MIT", "MIT WITH"] {
            assert!(!granted(expression), "{expression}");
        }
    }
}
