//! Files and the ioctls of atomic files.

use ashlar_tests::sys::{self, Answer, Arg};
use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::path::Path;

pub(crate) const START: u32 = 0xf501;
pub(crate) const COMMIT: u32 = 0xf502;
pub(crate) const START_VOLATILE: u32 = 0xf503;
pub(crate) const RELEASE_VOLATILE: u32 = 0xf504;
pub(crate) const ABORT: u32 = 0xf505;
pub(crate) const GET_FEATURES: u32 = 0x8004_f50c;
pub(crate) const IO_INFO: u32 = 0x8080_a504;
pub(crate) const GET_ATOMIC: u32 = 0x8004_a505;
pub(crate) const SET_ATOMIC: u32 = 0x4004_a506;
pub(crate) const OWN_ABORT: u32 = 0xa507;
pub(crate) const GET_TOKEN: u32 = 0x8008_a508;
pub(crate) const SYNCV: u32 = 0x6008_a509;
pub(crate) const SYNCV_BYTES: usize = 8200;

/// ioctl(2) with an argument that goes in and out.
pub(crate) fn ioctl(file: &File, number: u32, argument: &mut [u8]) -> Answer {
    let fd = Arg::Int(file.as_raw_fd().into());
    sys::call(libc::SYS_ioctl, &mut [fd, Arg::Int(number.into()), Arg::Out(argument)])
}

/// ioctl(2) without an argument.
pub(crate) fn plain_ioctl(file: &File, number: u32) -> Answer {
    ioctl(file, number, &mut [])
}

/// Makes a file atomic, or no more so, for all who open it from now on.
pub(crate) fn set_atomic(path: &Path, bits: u32) -> Answer {
    let file = File::open(path).expect("the file is there");
    ioctl(&file, SET_ATOMIC, &mut bits.to_ne_bytes())
}

/// Commits several files together.
pub(crate) fn syncv(files: &[&File]) -> Answer {
    let tokens = files.iter().map(|file| {
        let mut token = [0; 8];
        ioctl(file, GET_TOKEN, &mut token).map(|_| token)
    });
    let tokens: Vec<[u8; 8]> = tokens.collect::<Result<_, _>>()?;
    syncv_tokens(files[0], &tokens)
}

pub(crate) fn syncv_tokens(on: &File, tokens: &[[u8; 8]]) -> Answer {
    let mut argument = vec![0; SYNCV_BYTES];
    argument[..4].copy_from_slice(&(tokens.len() as u32).to_ne_bytes());
    for (to, token) in argument[8..].chunks_mut(8).zip(tokens) {
        to.copy_from_slice(token);
    }
    ioctl(on, SYNCV, &mut argument)
}

/// Opens a file for reading and writing, and makes it if it is not there.
pub(crate) fn open(path: &Path) -> File {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).open(path).expect("it opens")
}

/// Bytes in which no two blocks are equal.
pub(crate) fn pattern(seed: u8, length: usize) -> Vec<u8> {
    (0..length).map(|at| (at / 4096) as u8 ^ (at % 253) as u8 ^ seed).collect()
}
