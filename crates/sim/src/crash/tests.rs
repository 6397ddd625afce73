//! The enumerator held against its definition: all subsets of pending sectors, in all orders.

use std::collections::BTreeSet;
use std::time::Instant;

use ashlar_device::{Device, Finish, Result, Write};

use super::*;
use crate::device::SimDevice;
use crate::history::{Event, Payload};
use crate::image::SECTOR;

const ALL: Budget = Budget { exhaustive: u64::MAX, samples: 0 };

/// The first byte of each of the first `count` sectors.
fn glance(image: &Image, count: usize) -> Vec<u8> {
    let mut buf = vec![0; count * SECTOR];
    image.read(0, &mut buf);
    for sector in buf.chunks(SECTOR) {
        assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector is torn");
    }
    let mut again = Image::default();
    again.write(0, &buf);
    let mut rest = image.clone();
    rest.fill(0, buf.len() as u64, 0);
    assert_eq!(again.digest() ^ rest.digest(), image.digest(), "the digest follows the bytes");
    buf.chunks(SECTOR).map(|sector| sector[0]).collect()
}

fn states_at(device: &SimDevice, cut: usize, sectors: usize) -> Vec<Vec<u8>> {
    let history = device.history();
    let mut states = CrashStates::new(device.base(), &history);
    let mut random = Rng::with_seed(1);
    let found = states.at(cut, ALL, &mut random);
    assert!(found.are_all());
    let mut found: Vec<_> = found.map(|state| glance(&state.image, sectors)).collect();
    found.sort();
    let count = found.len();
    found.dedup();
    assert_eq!(found.len(), count, "states are distinct");
    found
}

fn device() -> SimDevice {
    SimDevice::new(1 << 20, Image::default())
}

fn sectors<const N: usize>(value: u8) -> Vec<u8> {
    vec![value; N * SECTOR]
}

#[test]
fn flushed_writes_stay_and_later_ones_may() -> Result<()> {
    let device = device();
    device.write_at(0, &sectors::<1>(1))?;
    device.write_at(512, &sectors::<1>(2))?;
    device.flush()?;
    device.write_at(1024, &sectors::<1>(3))?;
    let expected: [&[[u8; 3]]; 5] = [
        &[[0, 0, 0]],
        &[[0, 0, 0], [1, 0, 0]],
        &[[0, 0, 0], [0, 2, 0], [1, 0, 0], [1, 2, 0]],
        &[[1, 2, 0]],
        &[[1, 2, 0], [1, 2, 3]],
    ];
    for (cut, expected) in expected.iter().enumerate() {
        assert_eq!(states_at(&device, cut, 3), *expected, "cut after {cut}");
    }
    Ok(())
}

#[test]
fn batch_with_flush_can_be_cut_in_the_middle() -> Result<()> {
    let device = device();
    let (data, record) = (sectors::<1>(1), sectors::<1>(2));
    device.submit(
        &[Write { addr: 0, bytes: &data }, Write { addr: 512, bytes: &record }],
        Finish::Flush,
    )?;
    // The record may be there without its data.
    assert_eq!(states_at(&device, 2, 2), [[0, 0], [0, 2], [1, 0], [1, 2]]);
    assert_eq!(states_at(&device, 3, 2), [[1, 2]]);
    assert_eq!(device.history().cuts_before_flushes(), [2, 3]);
    Ok(())
}

#[test]
fn overwrites_arrive_in_any_order() -> Result<()> {
    let device = device();
    device.write_at(0, &sectors::<2>(1))?;
    device.write_at(512, &sectors::<2>(2))?;
    let mut expected = Vec::new();
    for first in [0, 1] {
        for middle in [0, 1, 2] {
            expected.extend([0, 2].map(|last| vec![first, middle, last]));
        }
    }
    assert_eq!(states_at(&device, 2, 3), expected);
    Ok(())
}

#[test]
fn write_is_torn_between_sectors_only() -> Result<()> {
    let device = device();
    device.write_at(0, &sectors::<3>(7))?;
    let expected: Vec<_> =
        (0..8).map(|bits| [4, 2, 1].map(|bit| if bits & bit != 0 { 7 } else { 0 })).collect();
    assert_eq!(states_at(&device, 1, 3), expected);
    Ok(())
}

#[test]
fn equal_contents_are_one_state() -> Result<()> {
    let device = device();
    device.write_at(0, &sectors::<1>(1))?;
    device.flush()?;
    device.write_at(0, &sectors::<1>(1))?;
    device.write_at(512, &sectors::<1>(0))?;
    assert_eq!(states_at(&device, 4, 2), [[1, 0]]);
    Ok(())
}

#[test]
fn zeroes_and_discards_are_pending_too() -> Result<()> {
    let device = device();
    device.write_at(0, &sectors::<2>(1))?;
    device.flush()?;
    device.write_zeroes(0, 512)?;
    device.discard(512, 512)?;
    assert_eq!(states_at(&device, 4, 2), [[0, 1], [0, 0xAB], [1, 1], [1, 0xAB]]);
    device.flush()?;
    assert_eq!(states_at(&device, 5, 2), [[0, 0xAB]]);
    Ok(())
}

fn write_event(addr: u64, value: u8, completed: usize) -> Event {
    Event::Write { addr, payload: Payload::Fill { byte: value, length: 512 }, completed }
}

fn states_of(events: Vec<Event>, sectors: usize) -> BTreeSet<Vec<u8>> {
    let history = History { events };
    let base = Arc::new(Image::default());
    let mut random = Rng::with_seed(1);
    let mut states = CrashStates::new(&base, &history);
    states.at(history.len(), ALL, &mut random).map(|state| glance(&state.image, sectors)).collect()
}

#[test]
fn running_write_is_not_covered_by_flush() {
    // The second write was running when the flush started.
    let events = vec![write_event(0, 1, 1), write_event(512, 2, 3), Event::Flush { started: 2 }];
    assert_eq!(states_of(events, 2), BTreeSet::from([vec![1, 0], vec![1, 2]]));
}

#[test]
fn failed_flush_dooms_writes_until_overwritten() {
    let mut events = vec![
        write_event(0, 1, 1),
        write_event(512, 2, 2),
        Event::FailedFlush,
        Event::Flush { started: 3 },
    ];
    let any = [[0, 0], [0, 2], [1, 0], [1, 2]].map(Vec::from);
    assert_eq!(states_of(events.clone(), 2), BTreeSet::from(any));
    events.extend([write_event(0, 3, 5), Event::Flush { started: 5 }]);
    assert_eq!(states_of(events, 2), BTreeSet::from([vec![3, 0], vec![3, 2]]));
}

/// All results of applying any of the pieces in any order.
fn applied(state: &[u8], pieces: &[(usize, u8)], results: &mut BTreeSet<Vec<u8>>) {
    results.insert(state.to_vec());
    for (index, (sector, value)) in pieces.iter().enumerate() {
        let mut next = state.to_vec();
        next[*sector] = *value;
        let mut rest = pieces.to_vec();
        rest.remove(index);
        applied(&next, &rest, results);
    }
}

#[test]
fn enumeration_equals_brute_force() -> Result<()> {
    const SECTORS: usize = 4;
    for seed in 0..200 {
        let mut random = Rng::with_seed(seed);
        let device = device();
        let mut durable = vec![0; SECTORS];
        let mut pieces: Vec<(usize, u8)> = Vec::new();
        for step in 1..40_u8 {
            let length = random.usize(1..=2);
            if pieces.len() + length > 5 || random.u8(..4) == 0 {
                device.flush()?;
                pieces.iter().for_each(|(sector, value)| durable[*sector] = *value);
                pieces.clear();
            } else {
                let first = random.usize(..=SECTORS - length);
                device.write_at((first * SECTOR) as u64, &vec![step; length * SECTOR])?;
                pieces.extend((first..first + length).map(|sector| (sector, step)));
            }
            let mut expected = BTreeSet::new();
            applied(&durable, &pieces, &mut expected);
            let found = states_at(&device, device.event_count(), SECTORS);
            assert_eq!(found, Vec::from_iter(expected), "seed {seed}, step {step}");
        }
    }
    Ok(())
}

#[test]
fn samples_are_distinct_possible_and_include_the_likely_ones() -> Result<()> {
    let device = device();
    device.write_at(0, &sectors::<40>(1))?;
    device.flush()?;
    for write in 0..10_u64 {
        device.write_at(write * 2048, &sectors::<4>(write as u8 + 2))?;
    }
    let history = device.history();
    let mut states = CrashStates::new(device.base(), &history);
    let mut random = Rng::with_seed(5);
    let budget = Budget { exhaustive: 100, samples: 500 };
    let found = states.at(history.len(), budget, &mut random);
    assert!(!found.are_all());
    let found: Vec<_> = found.map(|state| glance(&state.image, 40)).collect();
    assert_eq!(found.len(), 500);
    for state in &found {
        for (sector, value) in state.iter().enumerate() {
            assert!([1, sector as u8 / 4 + 2].contains(value));
        }
    }
    let set: BTreeSet<_> = found.into_iter().collect();
    assert_eq!(set.len(), 500);
    let mut expected = [vec![1; 40], (0..40).map(|sector| sector / 4 + 2).collect::<Vec<_>>()];
    assert!(expected.iter().all(|state| set.contains(state)));
    // The last and the first write lost.
    let [_, all] = &mut expected;
    let (mut no_last, mut no_first) = (all.clone(), all.clone());
    no_last[36..].fill(1);
    no_first[..4].fill(1);
    assert!(set.contains(&no_last) && set.contains(&no_first));
    Ok(())
}

#[test]
fn all_subsets_of_few_large_writes_are_tried() -> Result<()> {
    let device = device();
    for write in 0..4_u64 {
        device.write_at(write * 16384, &sectors::<32>(write as u8 + 1))?;
    }
    let history = device.history();
    let mut states = CrashStates::new(device.base(), &history);
    let mut random = Rng::with_seed(5);
    let budget = Budget { exhaustive: 16, samples: 30 };
    let found: BTreeSet<_> = states
        .at(history.len(), budget, &mut random)
        .map(|state| glance(&state.image, 128))
        .collect();
    assert_eq!(found.len(), 30);
    for bits in 0..16_usize {
        let state = (0..128).map(|sector| {
            let write = sector / 32;
            if bits >> write & 1 == 1 { write as u8 + 1 } else { 0 }
        });
        assert!(found.contains(&state.collect::<Vec<_>>()), "subset {bits:b}");
    }
    Ok(())
}

#[test]
fn seed_decides_the_samples() -> Result<()> {
    let device = device();
    for write in 0..20_u64 {
        device.write_at(write * 4096, &sectors::<8>(write as u8 + 1))?;
    }
    let history = device.history();
    let digests = |seed| {
        let mut states = CrashStates::new(device.base(), &history);
        let mut random = Rng::with_seed(seed);
        let budget = Budget { exhaustive: 10, samples: 200 };
        let found = states.at(history.len(), budget, &mut random);
        found.map(|state| state.image.digest()).collect::<Vec<_>>()
    };
    assert_eq!(digests(1), digests(1));
    assert_ne!(digests(1), digests(2));
    Ok(())
}

#[test]
fn state_is_made_once_until_judged_anew() -> Result<()> {
    let device = device();
    device.write_at(0, &sectors::<1>(1))?;
    device.write_at(512, &sectors::<1>(2))?;
    let history = device.history();
    let mut states = CrashStates::new(device.base(), &history);
    let mut random = Rng::with_seed(0);
    assert_eq!(states.at(1, ALL, &mut random).count(), 2);
    assert_eq!(states.at(2, ALL, &mut random).count(), 2);
    assert_eq!(states.at(2, ALL, &mut random).count(), 0);
    states.judge_anew();
    assert_eq!(states.at(2, ALL, &mut random).count(), 4);
    assert_eq!(states.distinct(), 4);
    Ok(())
}

#[test]
fn state_says_what_was_found() -> Result<()> {
    let device = device();
    device.write_at(0, &sectors::<1>(1))?;
    device.flush()?;
    device.write_at(0, &sectors::<2>(2))?;
    device.write_at(4096, &sectors::<1>(3))?;
    let history = device.history();
    let mut states = CrashStates::new(device.base(), &history);
    let mut random = Rng::with_seed(0);
    let texts: BTreeSet<_> =
        states.at(4, ALL, &mut random).map(|state| state.to_string()).collect();
    assert_eq!(texts.len(), 6, "the two torn ones of a pair read alike");
    assert!(texts.contains("cut after 4 events, found of the pending writes: 2 all, 3 none"));
    assert!(texts.contains("cut after 4 events, found of the pending writes: 2 1/2, 3 all"));
    Ok(())
}

/// A toy commit: data, flush, record, flush. A record that is found proves its data.
fn commit(device: &dyn Device, value: u8) -> Result<()> {
    device.submit(&[Write { addr: 0, bytes: &[value; 4 * SECTOR] }], Finish::Flush)?;
    device.submit(&[Write { addr: 4096, bytes: &[value; SECTOR] }], Finish::Flush)
}

fn holds(image: &Image) -> bool {
    let found = glance(image, 9);
    found[8] == 0 || found[..4].iter().all(|value| *value >= found[8])
}

fn recover(device: &dyn Device) -> Result<()> {
    let mut record = [0; SECTOR];
    device.read_at(4096, &mut record)?;
    // Proof first, then what relies on it.
    commit(device, record[0] + 1)
}

#[test]
fn recovery_is_cut_again_and_again() -> Result<()> {
    let device = device();
    commit(&device, 1)?;
    let mut random = Rng::with_seed(0);
    let mut level = vec![device];
    let mut judged = 0;
    for _ in 0..3 {
        let mut next = Vec::new();
        for device in &level {
            let history = device.history();
            let mut states = CrashStates::new(device.base(), &history);
            for cut in 0..=history.len() {
                for state in states.at(cut, ALL, &mut random) {
                    assert!(holds(&state.image), "{state}");
                    judged += 1;
                    let again = SimDevice::new(1 << 20, state.image);
                    recover(&again)?;
                    next.push(again);
                }
            }
        }
        level = next;
        level.truncate(60);
    }
    assert!(judged > 400, "{judged} states");
    Ok(())
}

#[test]
fn forgotten_flush_is_noticed() -> Result<()> {
    let device = device().lying();
    commit(&device, 1)?;
    let history = device.history();
    let mut states = CrashStates::new(device.base(), &history);
    let mut random = Rng::with_seed(0);
    let mut found = states.at(history.len(), ALL, &mut random);
    assert!(found.any(|state| !holds(&state.image)));
    Ok(())
}

#[test]
fn states_are_cheap() -> Result<()> {
    // A durable gigabyte in use costs nothing; a hundred thousand states take about a second.
    let mut image = Image::default();
    for addr in (0..1_u64 << 30).step_by(1 << 20) {
        image.write(addr, &[9; 4096]);
    }
    let device = SimDevice::new(1 << 30, image);
    for write in 0..16_u64 {
        device.write_at(write * 65536, &sectors::<8>(write as u8 + 1))?;
    }
    let history = device.history();
    let mut states = CrashStates::new(device.base(), &history);
    let mut random = Rng::with_seed(0);
    let started = Instant::now();
    let budget = Budget { exhaustive: 0, samples: 20_000 };
    let count = states.at(history.len(), budget, &mut random).count();
    println!("{count} states in {:?}", started.elapsed());
    assert_eq!(count, 20_000);
    Ok(())
}
