//! What a device tells about itself, and the one check of ranges that every device makes.

use std::io;

/// Size and preferences of a device. Fixed while the device is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// Bytes that can be addressed: a multiple of `sector`.
    pub capacity: u64,
    /// The logical block in bytes, a power of two of at least 512: addresses and lengths are
    /// multiples of it, and it is the unit that a power cut cannot tear.
    pub sector: u32,
    /// Bytes per transfer that suit the device; at least `sector`.
    pub optimal_io: u32,
    /// Whether [`Device::discard`](crate::Device::discard) reaches the device. Where it does not,
    /// it succeeds and does nothing.
    pub discard: bool,
    /// Whether seeks cost time.
    pub rotational: bool,
    /// Whether every change is refused with `EROFS`.
    pub read_only: bool,
}

impl Topology {
    /// A writable, discarding device of `capacity` bytes with sectors of `sector` bytes.
    ///
    /// # Panics
    /// `sector` is not a power of two of at least 512, or does not divide `capacity`.
    #[must_use]
    pub fn new(capacity: u64, sector: u32) -> Self {
        assert!(sector >= 512 && sector.is_power_of_two(), "sector of {sector} bytes");
        assert!(capacity.is_multiple_of(u64::from(sector)), "capacity {capacity} cuts a sector");
        Self {
            capacity,
            sector,
            optimal_io: sector.max(4096),
            discard: true,
            rotational: false,
            read_only: false,
        }
    }

    /// Checks that the range lies inside the device and covers whole sectors.
    ///
    /// # Errors
    /// `EINVAL` (as [`io::ErrorKind::InvalidInput`]) with the reason.
    pub fn check_range(&self, addr: u64, length: u64) -> io::Result<()> {
        let sector = u64::from(self.sector);
        let invalid = |why: String| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        if !addr.is_multiple_of(sector) || !length.is_multiple_of(sector) {
            return invalid(format!("not a multiple of the {sector}-byte sector"));
        }
        match addr.checked_add(length) {
            Some(end) if end <= self.capacity => Ok(()),
            _ => invalid(format!("outside of the device's {} bytes", self.capacity)),
        }
    }

    /// [`check_range`](Self::check_range) for a change.
    ///
    /// # Errors
    /// As there, and `EROFS` on a read-only device.
    pub fn check_change(&self, addr: u64, length: u64) -> io::Result<()> {
        if self.read_only {
            return Err(io::Error::from_raw_os_error(libc::EROFS));
        }
        self.check_range(addr, length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn range_must_be_whole_sectors_inside() {
        let topology = Topology::new(8192, 512);
        assert!(topology.check_range(0, 8192).is_ok());
        assert!(topology.check_range(8192, 0).is_ok());
        for (addr, length) in
            [(1, 512), (0, 511), (8192, 512), (7680, 1024), (u64::MAX - 511, 512), (8704, 0)]
        {
            let error = topology.check_range(addr, length).expect_err("must be refused");
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{addr} {length}");
        }
    }

    #[test]
    fn change_is_refused_when_read_only() {
        let topology = Topology { read_only: true, ..Topology::new(8192, 512) };
        assert!(topology.check_range(0, 512).is_ok());
        let error = topology.check_change(0, 512).expect_err("must be refused");
        assert_eq!(error.raw_os_error(), Some(libc::EROFS));
    }
}
