//! Structures and numbers of the FUSE kernel interface, as the kernel lays them out.
//!
//! All integers are in the machine's own byte order. Each structure is written as its own table:
//! the number before `=>` is the field's offset, the number after the name the total size, and
//! the compiler checks both. Names follow the kernel's `struct fuse_*` without the prefix.

mod flags;
mod input;
mod opcode;
mod output;

pub(crate) use flags::*;
pub(crate) use input::*;
pub(crate) use opcode::*;
pub(crate) use output::*;

/// Major number of the protocol.
pub(crate) const VERSION_MAJOR: u32 = 7;
/// Oldest minor number we serve: older kernels lack what the write-back cache rules rely on.
pub(crate) const OLDEST_MINOR: u32 = 31;
/// Newest minor number we know.
pub(crate) const NEWEST_MINOR: u32 = 45;
/// What a request carries as user or group when the mount is idmapped and it creates nothing.
pub(crate) const INVALID_ID: u32 = u32::MAX;

/// Declares a `repr(C)` structure from its offset table and checks the table while compiling.
macro_rules! wire_struct {
    ($($(#[$doc:meta])* $name:ident: $size:literal {
        $($(#[$field_doc:meta])* $offset:literal => $field:ident: $kind:ty,)*
    })*) => {$(
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, zerocopy::FromBytes, zerocopy::IntoBytes,
            zerocopy::Immutable, zerocopy::KnownLayout,
        )]
        #[repr(C)]
        pub(crate) struct $name {
            $($(#[$field_doc])* pub(crate) $field: $kind,)*
        }
        const _: () = {
            assert!(size_of::<$name>() == $size);
            $(assert!(std::mem::offset_of!($name, $field) == $offset);)*
        };
    )*};
}
pub(crate) use wire_struct;
