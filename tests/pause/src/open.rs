//! What this process has open, as the kernel says.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Descriptors of files below a directory, and of TCP sockets.
pub(crate) fn open(directory: &Path) -> std::io::Result<Vec<String>> {
    let directory = directory.canonicalize()?;
    let sockets = tcp_sockets()?;
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        // The one that reads this list is gone by now.
        let Ok(target) = fs::read_link(entry?.path()) else { continue };
        if target.starts_with(&directory) {
            found.push(target.display().to_string());
        }
        let inode = target.to_str().and_then(|target| target.strip_prefix("socket:[")?.strip_suffix(']'));
        if let Some(inode) = inode.filter(|inode| sockets.contains(*inode)) {
            found.push(format!("TCP socket {inode}"));
        }
    }
    Ok(found)
}

/// The inodes of all TCP sockets, whoever has them.
fn tcp_sockets() -> std::io::Result<BTreeSet<String>> {
    let mut inodes = BTreeSet::new();
    for table in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
        // A kernel without IPv6 has no such table.
        let Ok(lines) = fs::read_to_string(table) else { continue };
        inodes.extend(lines.lines().skip(1).filter_map(|line| line.split_whitespace().nth(9)).map(str::to_owned));
    }
    Ok(inodes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_is_found_files_and_sockets() {
        let place = tempfile::tempdir().unwrap();
        assert_eq!(open(place.path()).unwrap(), Vec::<String>::new());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let file = fs::File::create(place.path().join("lock")).unwrap();
        let found = open(place.path()).unwrap();
        assert!(found.iter().any(|what| what.ends_with("lock")) && found.len() >= 3, "{found:?}");
        drop((listener, socket, file));
        assert_eq!(open(place.path()).unwrap(), Vec::<String>::new());
    }
}
