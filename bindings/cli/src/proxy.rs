//! Through which proxy a profile's connections go: as somebody says for one process, else as it is kept in a file of the profile.
//!
//! Invariant: where a proxy is wanted and cannot be read, nothing connects at all. It is changed only by the process that has the profile, so
//! none goes on by another way.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use std::str::FromStr;

use serde_json::json;
use sotto_core::net::{BadProxy, Proxy};

use crate::arguments::{Arguments, Command};
use crate::failed::Failed;
use crate::output::Output;
use crate::profile;
use crate::readable;

const FILE_NAME: &str = "sotto.proxy";
const NEW_FILE_NAME: &str = "sotto.proxy.new";
/// The word for none.
const NONE: &str = "none";

/// A proxy as it was typed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Way {
    address: String,
    proxy: Proxy,
}

impl FromStr for Way {
    type Err = BadProxy;

    fn from_str(address: &str) -> Result<Self, BadProxy> {
        Ok(Self { address: address.to_owned(), proxy: address.parse()? })
    }
}

impl std::fmt::Debug for Way {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.proxy.fmt(formatter)
    }
}

impl Way {
    pub(crate) fn proxy(&self) -> Proxy {
        self.proxy.clone()
    }
}

/// The way that a command's connections go: the one that it sets, the one that somebody says, or the one that is kept.
pub(crate) fn wanted(directory: &Path, arguments: &mut Arguments) -> Result<Option<Way>, Failed> {
    match &mut arguments.command {
        Command::Proxy { address: Some(address) } => {
            if address == "-" {
                // What others must not see in the list of processes.
                address.clear();
                let read = io::stdin().read_line(address);
                read.map_err(|_| Failed::new("input_failed", "standard input is not lines of text"))?;
            }
            if address.trim() == NONE { Ok(None) } else { typed(address.trim()).map(Some) }
        }
        _ => match arguments.proxy.take() {
            Some(way) => Ok(Some(way)),
            None => kept(directory),
        },
    }
}

fn typed(address: &str) -> Result<Way, Failed> {
    address.parse().map_err(|error: BadProxy| Failed::new("bad_proxy", error.to_string()))
}

/// What is kept in a profile.
fn kept(directory: &Path) -> Result<Option<Way>, Failed> {
    let unreadable = || Failed::new("proxy_unreadable", "the proxy that this profile keeps cannot be read");
    match profile::open(&directory.join(FILE_NAME)).and_then(io::read_to_string) {
        Ok(address) => address.trim().parse().map(Some).map_err(|_| unreadable()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(_) => Err(unreadable()),
    }
}

/// Keeps a way for whatever is run on the profile from now on; `None`: connections are direct.
pub(crate) fn keep(directory: &Path, way: Option<&Way>) -> Result<(), Failed> {
    let path = directory.join(FILE_NAME);
    let done = match way {
        Some(way) => {
            let new = directory.join(NEW_FILE_NAME);
            profile::create_new(&new)
                .and_then(|mut file| writeln!(file, "{}", way.address).and_then(|()| file.sync_all()))
                .and_then(|()| fs::rename(&new, &path))
        }
        None => match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        },
    };
    let synced = done.and_then(|()| File::open(directory)?.sync_all());
    synced.map_err(|error| Failed::new("profile_unwritable", format!("the proxy cannot be kept: {error}")))
}

/// Shows what is kept, without a password.
pub(crate) fn show(directory: &Path, output: &mut Output<'_>) -> Result<(), Failed> {
    let shown = kept(directory)?.map(|way| format!("{way:?}"));
    let human = shown.as_deref().map_or_else(|| NONE.to_owned(), readable::line);
    output.show(&json!({ "kind": "proxy", "proxy": shown }), &human);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_again_and_what_cannot_be_read_is_not_none() {
        let profile = tempfile::tempdir().unwrap();
        let way: Way = "socks5://ann:secret@127.0.0.1:9050".parse().unwrap();
        assert_eq!(kept(profile.path()).unwrap(), None);
        keep(profile.path(), Some(&way)).unwrap();
        assert_eq!(kept(profile.path()).unwrap(), Some(way));
        fs::write(profile.path().join(FILE_NAME), "garbage").unwrap();
        assert!(kept(profile.path()).unwrap_err().is("proxy_unreadable"));
        keep(profile.path(), None).unwrap();
        assert_eq!(kept(profile.path()).unwrap(), None);
        keep(profile.path(), None).unwrap();
    }
}
