//! What a process that dies leaves to the next one in a directory: profiles, keystores, relays, what was said, and how late it is.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sotto_core::world::SecretStore;

use super::theatre::{Said, Who};
use crate::FileSecrets;
use crate::device::Place;

/// Every process is so much later than the one before.
const LATER: Duration = Duration::from_secs(3_600);

/// See the file's story.
pub(super) struct Ledge {
    directory: PathBuf,
    begun: Duration,
}

impl Ledge {
    pub(super) fn new(directory: PathBuf) -> Self {
        let mut ledge = Self { directory, begun: Duration::ZERO };
        ledge.begun = Duration::from_millis(ledge.number("time") as u64) + LATER;
        ledge
    }

    /// When this process has begun.
    pub(super) const fn begun(&self) -> Duration {
        self.begun
    }

    pub(super) fn note_time(&self, now: Duration) {
        self.note("time", usize::try_from(now.as_millis()).unwrap_or(0));
    }

    pub(super) fn file(&self, name: impl AsRef<str>) -> PathBuf {
        self.directory.join(name.as_ref())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.file(name).exists()
    }

    pub(super) fn place(&self, name: &str) -> (Place, Arc<dyn SecretStore>) {
        let place = self.file(name);
        // A failure shows at the next step.
        let _ = fs::create_dir_all(&place);
        (Place::At(place), Arc::new(FileSecrets::at(self.file(format!("keys of {name}")))))
    }

    /// A number that was noted; 0 when none was.
    pub(super) fn number(&self, name: &str) -> usize {
        fs::read_to_string(self.file(name)).ok().and_then(|number| number.parse().ok()).unwrap_or(0)
    }

    pub(super) fn note(&self, name: &str, number: usize) {
        self.write(name, &number.to_string());
    }

    pub(super) fn write(&self, name: &str, what: &str) {
        // Read again by the next process, which would find something missing.
        let _ = fs::write(self.file(name), what);
    }

    pub(super) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).unwrap_or_default()
    }

    /// Before somebody is asked to say something, and after they did.
    pub(super) fn note_said(&self, by: Who, text: &str, is_sure: bool) {
        let file = fs::OpenOptions::new().create(true).append(true).open(self.file("said"));
        let _ = file.and_then(|mut file| writeln!(file, "{by:?} {is_sure} {text}"));
    }

    pub(super) fn forget_said(&self) {
        self.write("said", "");
    }

    /// What was said, each text once.
    pub(super) fn said(&self) -> Vec<Said> {
        let mut all: Vec<Said> = Vec::new();
        for line in self.read("said").lines() {
            let mut words = line.splitn(3, ' ');
            let by = if words.next() == Some("Alice") { Who::Alice } else { Who::Bob };
            let is_sure = words.next() == Some("true");
            let text = words.next().unwrap_or_default().to_owned();
            match all.iter_mut().find(|said| said.text == text) {
                Some(said) => said.is_sure |= is_sure,
                None => all.push(Said { by, text, is_sure }),
            }
        }
        all
    }
}
