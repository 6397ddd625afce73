//! Where bytes live: image files, block devices and memory behind one small trait.
//!
//! The lowest layer. It knows neither files nor the on-disk format: a [`Device`] is an array of
//! bytes that is read and written in whole sectors, and a flush that orders what was written.
//! Everything above relies on these promises, and the power-cut simulator attacks exactly them:
//!
//! * **D1** A write of one sector is atomic: after a power cut a sector holds its old or its new
//!   bytes. Nothing larger is atomic.
//! * **D2** Writes are unordered until a flush. A flush that returned `Ok` makes every write that
//!   completed before it started durable, and, for [`Finish::Flush`], every write of its batch.
//! * **D3** A failed flush proves nothing: everything written since the last successful flush must
//!   be treated as lost, and a later successful flush does not bring it back. The host may have
//!   dropped the dirty pages that it could not write.
//! * **D4** Discarded bytes are undefined until they are written again.
//!
//! ```
//! use ashlar_device::{Device, Finish, MemoryDevice, Write};
//!
//! let device = MemoryDevice::new(1 << 20);
//! let (data, record) = ([7; 4096], [9; 512]);
//! device.submit(
//!     &[Write { addr: 8192, bytes: &data }, Write { addr: 0, bytes: &record }],
//!     Finish::Flush,
//! )?;
//! let mut back = [0; 512];
//! device.read_at(8192, &mut back)?;
//! assert_eq!(back, [7; 512]);
//! # Ok::<(), ashlar_device::DeviceError>(())
//! ```

mod buffer;
mod counted;
mod device;
mod error;
mod file;
mod memory;
mod pages;
mod topology;

pub use buffer::{AlignedBuf, BUFFER_ALIGN};
pub use counted::{Counted, Counts};
pub use device::{Device, Finish, Read, Write};
pub use error::{DeviceError, DeviceOp, Result};
pub use file::{FileDevice, OpenMode};
pub use memory::MemoryDevice;
pub use topology::Topology;
