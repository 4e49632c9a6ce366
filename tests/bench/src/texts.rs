//! What people write: Debian's fortunes and their translations, cut into messages.
//!
//! Sayings, jokes, poems and prose in ten languages, of which English, German, Russian, Polish, Italian, Spanish, Czech and Chinese have most.
//! A message is a sentence or a few short ones of one saying, on one line. Where there are more messages than that, they say it all again.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Outcome;

/// Where Debian puts them: `fortunes`, `fortunes-min` and those named after their language.
const PLACE: &str = "/usr/share/games/fortunes";
/// Characters from which on a message is not joined with the next sentence of its saying.
const SHORT: usize = 30;
/// And at which it ends wherever it is.
const LONG: usize = 400;

/// The texts, as a message of any number says them.
#[derive(Clone)]
pub(crate) struct Texts(Arc<Vec<String>>);

impl Texts {
    pub(crate) fn read() -> Outcome<Self> {
        let mut files = Vec::new();
        collect(Path::new(PLACE), &mut files)?;
        files.sort();
        let mut texts = Vec::new();
        for file in files {
            // Some are in the encodings of their time.
            let Ok(file) = String::from_utf8(fs::read(file)?) else { continue };
            for saying in file.split("\n%\n") {
                cut(saying, &mut texts);
            }
        }
        if texts.len() < 10_000 {
            return Err("Debian's fortunes are not installed: `cargo xtask bench` does that".into());
        }
        Ok(Self(Arc::new(texts)))
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// What message `number` says: neighbours are of different sayings, and all are said equally often.
    pub(crate) fn of(&self, number: u32) -> &str {
        /// A prime that is no divisor of any count there is.
        const STEP: usize = 1_000_003;
        let index = (number as usize).wrapping_mul(STEP) % self.0.len();
        self.0.get(index).map_or("", String::as_str)
    }
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> Outcome<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        // Pictures of letters; insults; indexes; links to what is here.
        let is_other = name.contains("art")
            || name == "off"
            || name == "banner"
            || name.ends_with(".dat")
            || name.ends_with(".u8");
        match fs::symlink_metadata(&path)? {
            kind if is_other || kind.is_symlink() => {}
            kind if kind.is_dir() => collect(&path, files)?,
            _ => files.push(path),
        }
    }
    Ok(())
}

fn cut(saying: &str, texts: &mut Vec<String>) {
    let mut message = String::new();
    let mut length = 0;
    let mut is_escape = false;
    let mut characters = saying.chars().peekable();
    while let Some(character) = characters.next() {
        // Colours of a terminal.
        is_escape |= character == '\u{1b}';
        if is_escape {
            is_escape = character != 'm';
            continue;
        }
        match character {
            // Chinese goes on without a space.
            _ if character.is_whitespace() || character.is_control() => {
                if message.chars().last().is_some_and(|last| last < '\u{2e80}' && last != ' ') {
                    message.push(' ');
                }
            }
            _ => message.push(character),
        }
        length += 1;
        let is_sentence =
            matches!(character, '.' | '!' | '?' | '…') && characters.peek().is_none_or(|next| next.is_whitespace());
        let is_end = length >= LONG && character.is_whitespace();
        if is_end || (length >= SHORT && (is_sentence || matches!(character, '。' | '！' | '？'))) {
            push(&mut message, texts);
            length = 0;
        }
    }
    push(&mut message, texts);
}

fn push(message: &mut String, texts: &mut Vec<String>) {
    let text = message.trim();
    if text.chars().any(char::is_alphanumeric) {
        texts.push(text.to_owned());
    }
    message.clear();
}
