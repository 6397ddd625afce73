//! Memory of the server while its mount holds many files.

use crate::Settings;
use crate::measure::Comparison;
use crate::peers::{Kind, Peer};
use std::fs;

/// Files on the volume.
const FILES: u64 = 1_000_000;
/// Files of one directory.
const FILES_PER_FOLDER: u64 = 1000;

/// Creates many files, looks at all of them, and asks how much memory the server uses.
pub(crate) fn many_files(settings: &Settings) -> Vec<Comparison> {
    let count = settings.sized(FILES);
    let mut peer = Peer::create(&settings.folder, Kind::Ashlar, 4 << 30);
    let mut comparison =
        Comparison::new(format!("memory of the server, {count} files, mounted"), "MiB resident");
    comparison.higher_is_better = false;
    for folder in 0..count.div_ceil(FILES_PER_FOLDER) {
        let path = peer.path().join(format!("d{folder}"));
        fs::create_dir(&path).expect("a folder can be made");
        for number in 0..FILES_PER_FOLDER.min(count - folder * FILES_PER_FOLDER) {
            fs::File::create_new(path.join(format!("f{number}"))).expect("a file can be made");
        }
    }
    peer.sync();
    comparison.add("after creating them", resident_mib(&peer, "VmRSS:"));
    comparison.notes.push(format!("at most {:.0} MiB", resident_mib(&peer, "VmHWM:")));
    peer.remount();
    comparison.add("after mounting", resident_mib(&peer, "VmRSS:"));
    for folder in 0..count.div_ceil(FILES_PER_FOLDER) {
        for entry in fs::read_dir(peer.path().join(format!("d{folder}"))).expect("it is there") {
            let entry = entry.expect("a folder can be listed");
            entry.metadata().expect("the file is there");
        }
    }
    comparison.add("after looking at each", resident_mib(&peer, "VmRSS:"));
    vec![comparison]
}

fn resident_mib(peer: &Peer, field: &str) -> f64 {
    let server = peer.server().expect("the peer has a server");
    let status = fs::read_to_string(format!("/proc/{server}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with(field)).unwrap_or_default();
    let kib: u64 = line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0);
    kib as f64 / 1024.0
}
