//! What must not stand in the tree: `unsafe` outside the few places made for it, and notes of unfinished work.
//!
//! The compiler already denies `unsafe_code`; this finds the crate that switched the lint off.

use crate::checkout::Checkout;
use crate::step::{Failure, Outcome};

/// Where `unsafe` may be written. Each has a reason of its own: C's table of functions, a file system under SQLite, the process's
/// entropy source.
const UNSAFE_ALLOWED: &[&str] = &["core/cipher/", "tests/power/", "tests/entropy/"];
/// Where the lint may be switched off because a macro writes the `unsafe`.
const UNSAFE_GENERATED: &[&str] = &["bindings/ffi/src/"];
/// Work that was left undone. Written in halves, or this file would find itself.
const UNFINISHED: [&str; 4] =
    [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("todo", "!"), concat!("unimplemented", "!")];

/// `unsafe` stands only where it may.
pub(crate) fn keeps_unsafe_in_its_places(checkout: &Checkout) -> Result<Outcome, Failure> {
    search(checkout, is_misplaced_unsafe)
}

/// No work was left undone.
pub(crate) fn leaves_nothing_unfinished(checkout: &Checkout) -> Result<Outcome, Failure> {
    search(checkout, |_, line| UNFINISHED.iter().any(|word| line.contains(word)))
}

fn search(checkout: &Checkout, is_fault: impl Fn(&str, &str) -> bool) -> Result<Outcome, Failure> {
    let mut faults = 0;
    for path in checkout.files()? {
        // What is not text (a fixture) holds no code.
        let Ok(text) = checkout.read(&path) else { continue };
        for (index, line) in text.lines().enumerate().filter(|(_, line)| is_fault(&path, line)) {
            println!("{path}:{}: {}", index + 1, line.trim());
            faults += 1;
        }
    }
    if faults == 0 { Ok(Outcome::Passed) } else { Err(Failure(format!("{faults} lines"))) }
}

fn is_misplaced_unsafe(path: &str, line: &str) -> bool {
    let is_in = |places: &[&str]| places.iter().any(|place| path.starts_with(place));
    if !path.ends_with(".rs") || is_in(UNSAFE_ALLOWED) {
        return false;
    }
    // Every second piece between quotation marks is the inside of a string.
    let code = line.split('"').step_by(2).collect::<Vec<_>>().join(" ");
    let code = code.split("//").next().unwrap_or_default();
    let mut words = code.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
    words.any(|word| word == "unsafe" || (word == "unsafe_code" && !is_in(UNSAFE_GENERATED)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_is_found_in_code_and_nowhere_else() {
        for code in ["unsafe { call() }", "pub unsafe fn call()", "#[unsafe(no_mangle)]", "#![expect(unsafe_code)]"] {
            assert!(is_misplaced_unsafe("server/src/lib.rs", code), "{code}");
        }
        for code in ["// unsafe is for others", &format!("let text = {:?};", "unsafe"), "let unsafely = 1;"] {
            assert!(!is_misplaced_unsafe("server/src/lib.rs", code), "{code}");
        }
        assert!(!is_misplaced_unsafe("docs/threat-model.md", "unsafe { call() }"));
    }

    #[test]
    fn unsafe_may_stand_where_the_design_puts_it() {
        assert!(!is_misplaced_unsafe("core/cipher/src/provider.rs", "unsafe { call() }"));
        assert!(!is_misplaced_unsafe("bindings/ffi/src/lib.rs", "#![expect(unsafe_code)]"));
        assert!(is_misplaced_unsafe("bindings/ffi/src/lib.rs", "unsafe { call() }"), "only macros write it there");
    }
}
