//! Well-formed requests decode to what they say; no other bytes make the decoder panic.

use super::*;

/// A request of `opcode` with these argument bytes and extensions.
fn request(opcode: Opcode, body: &[u8], extensions: &[u8]) -> Vec<u8> {
    assert_eq!(extensions.len() % 8, 0);
    let header = InHeader {
        len: (size_of::<InHeader>() + body.len() + extensions.len()) as u32,
        opcode: opcode as u32,
        unique: 7,
        nodeid: 1,
        total_extlen: (extensions.len() / 8) as u16,
        ..InHeader::default()
    };
    [header.as_bytes(), body, extensions].concat()
}

#[test]
fn header_decodes_when_the_body_is_malformed() {
    let bytes = request(Opcode::Lookup, b"no end", &[]);
    assert_eq!(header(&bytes).unwrap().unique, 7);
    let malformed = decode(&bytes, true).unwrap_err();
    assert_eq!(malformed.opcode, Opcode::Lookup as u32);
}

#[test]
fn rename_gives_both_names_and_the_flags() {
    let arguments = abi::Rename2In { newdir: 9, flags: 2, padding: 0 };
    let body = [arguments.as_bytes(), b"from\0to\0"].concat();
    let bytes = request(Opcode::Rename2, &body, &[]);
    let Operation::Rename { new_dir, flags, name, new_name } =
        decode(&bytes, true).unwrap().operation
    else {
        panic!("not a rename");
    };
    assert_eq!((new_dir, flags, name, new_name), (9, 2, &b"from"[..], &b"to"[..]));
}

#[test]
fn write_payload_is_the_bytes_after_both_headers() {
    let arguments = abi::WriteIn { size: 5, offset: 3, ..abi::WriteIn::default() };
    let body = [arguments.as_bytes(), b"hello"].concat();
    let bytes = request(Opcode::Write, &body, &[]);
    let Operation::Write { data, .. } = decode(&bytes, true).unwrap().operation else {
        panic!("not a write");
    };
    assert_eq!(data, b"hello");
    assert_eq!(data.as_ptr() as usize - bytes.as_ptr() as usize, 80);
}

#[test]
fn write_with_a_size_beyond_its_bytes_is_malformed() {
    let arguments = abi::WriteIn { size: 6, ..abi::WriteIn::default() };
    let body = [arguments.as_bytes(), b"hello"].concat();
    assert!(decode(&request(Opcode::Write, &body, &[]), true).is_err());
}

#[test]
fn setxattr_head_depends_on_what_was_agreed() {
    let long = abi::SetxattrIn { size: 2, flags: 1, setxattr_flags: 1, padding: 0 };
    let body = [long.as_bytes(), b"user.x\0ab"].concat();
    let bytes = request(Opcode::Setxattr, &body, &[]);
    let Operation::Setxattr { flags, ext_flags, name, value } =
        decode(&bytes, true).unwrap().operation
    else {
        panic!("not a setxattr");
    };
    assert_eq!((flags, ext_flags, name, value), (1, 1, &b"user.x"[..], &b"ab"[..]));

    let short = abi::SetxattrInShort { size: 2, flags: 1 };
    let body = [short.as_bytes(), b"user.x\0ab"].concat();
    let bytes = request(Opcode::Setxattr, &body, &[]);
    let Operation::Setxattr { ext_flags, name, .. } = decode(&bytes, false).unwrap().operation
    else {
        panic!("not a setxattr");
    };
    assert_eq!((ext_flags, name), (0, &b"user.x"[..]));
}

#[test]
fn groups_are_found_behind_another_extension() {
    let other = abi::ExtHeader { size: 12, kind: 0 };
    let groups = abi::ExtHeader { size: 20, kind: abi::EXT_GROUPS };
    let extensions = [
        other.as_bytes(),
        &[1, 2, 3, 4, 0, 0, 0, 0],
        groups.as_bytes(),
        2u32.as_bytes(),
        100u32.as_bytes(),
        200u32.as_bytes(),
        &[0; 4],
    ]
    .concat();
    let body = [abi::MkdirIn::default().as_bytes(), b"d\0"].concat();
    let bytes = request(Opcode::Mkdir, &body, &extensions);
    let Operation::Mkdir { groups, name, .. } = decode(&bytes, true).unwrap().operation else {
        panic!("not a mkdir");
    };
    assert_eq!(name, b"d");
    assert_eq!(groups.iter().collect::<Vec<_>>(), [100, 200]);
}

#[test]
fn extension_of_size_zero_is_malformed_and_not_an_endless_loop() {
    let zero = abi::ExtHeader { size: 0, kind: 0 };
    let body = [abi::MkdirIn::default().as_bytes(), b"d\0"].concat();
    assert!(decode(&request(Opcode::Mkdir, &body, zero.as_bytes()), true).is_err());
}

#[test]
fn batch_forget_lists_each_pair_and_refuses_a_false_count() {
    let pairs =
        [abi::ForgetOne { nodeid: 2, nlookup: 3 }, abi::ForgetOne { nodeid: 4, nlookup: 1 }];
    for (count, fits) in [(2, true), (3, false), (u32::MAX, false)] {
        let head = abi::BatchForgetIn { count, dummy: 0 };
        let body = [head.as_bytes(), pairs.as_bytes()].concat();
        match decode(&request(Opcode::BatchForget, &body, &[]), true) {
            Ok(Request { operation: Operation::BatchForget(list), .. }) => {
                assert!(fits);
                let seen: Vec<_> = list.iter().map(|one| (one.nodeid, one.nlookup)).collect();
                assert_eq!(seen, [(2, 3), (4, 1)]);
            }
            other => assert!(!fits, "{other:?}"),
        }
    }
}

#[test]
fn init_of_an_old_kernel_decodes_with_zeros_behind() {
    let short = abi::InitInShort { major: 7, minor: 31, max_readahead: 5, flags: 6 };
    let bytes = request(Opcode::Init, short.as_bytes(), &[]);
    let Operation::Init(init) = decode(&bytes, true).unwrap().operation else {
        panic!("not an init");
    };
    assert_eq!((init.major, init.minor, init.flags, init.flags2), (7, 31, 6, 0));
}

#[test]
fn no_bytes_make_the_decoder_panic() {
    let seed = 0x5eed_f00d;
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..200_000 {
        let opcode = Opcode::ALL[round % Opcode::ALL.len()];
        let mut body = vec![0u8; random.usize(..160)];
        // Small values make plausible sizes and counts, zeros end names.
        for byte in &mut body {
            *byte = if random.bool() { random.u8(..4) } else { random.u8(..) };
        }
        let mut bytes = request(opcode, &body, &[]);
        match random.u8(..6) {
            0 => bytes.truncate(random.usize(..=bytes.len())),
            1 => bytes[36] = random.u8(..24),
            2 => {
                let length = random.usize(..=bytes.len());
                bytes.truncate(length);
                if let Some(field) = bytes.get_mut(..4) {
                    field.copy_from_slice(&(length as u32).to_ne_bytes());
                }
            }
            _ => {}
        }
        let decoded = decode(&bytes, random.bool());
        // Walk what the lists claim to hold.
        match decoded.map(|request| request.operation) {
            Ok(Operation::BatchForget(list)) => assert!(list.iter().count() <= 10),
            Ok(Operation::Create { groups, .. } | Operation::Mkdir { groups, .. }) => {
                assert!(groups.iter().count() <= 48);
            }
            _ => {}
        }
    }
}

#[test]
fn truncation_of_each_request_is_noticed_or_harmless() {
    for &opcode in Opcode::ALL {
        let body = [&[0u8; 104][..], b"a\0b\0"].concat();
        let whole = request(opcode, &body, &[]);
        for length in 0..whole.len() {
            let mut bytes = whole[..length].to_vec();
            if let Some(field) = bytes.get_mut(..4) {
                field.copy_from_slice(&(length as u32).to_ne_bytes());
            }
            let _ = decode(&bytes, true);
        }
    }
}
