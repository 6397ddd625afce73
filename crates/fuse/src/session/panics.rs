//! A panic in an operation fails that operation, stops all writing, and leaves the mount readable.
//!
//! A panic is a bug of ours, met while some of core's state may be half changed: nothing of that
//! may reach the device, so the volume becomes read-only. Taking the process down instead would
//! lose what the kernel still has cached and hang every program inside the mount.

use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use crate::ops::Server;
use crate::wire::reply::Errno;

thread_local! {
    /// Whether this thread is inside [`guard`].
    static GUARDED: Cell<bool> = const { Cell::new(false) };
    /// What the last panic of this thread said, and where.
    static REPORT: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Makes panics inside [`guard`] leave a report there; others go the way they went before.
pub(super) fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if GUARDED.get() {
                let report = format!("{info}\n{}", Backtrace::force_capture());
                REPORT.with_borrow_mut(|slot| *slot = report);
            } else {
                previous(info);
            }
        }));
    });
}

/// Runs one operation; turns a panic into `EIO` and a read-only volume.
pub(super) fn guard<T>(
    server: &Server,
    what: &str,
    operation: impl FnOnce() -> Result<T, Errno>,
) -> Result<T, Errno> {
    GUARDED.set(true);
    // Nothing that the closure may leave half changed is used for writing any more: see above.
    let result = catch_unwind(AssertUnwindSafe(operation));
    GUARDED.set(false);
    result.unwrap_or_else(|_| {
        let report = REPORT.take();
        tracing::error!("panic in a request ({what}); the volume is read-only now: {report}");
        let cause = report.lines().next().unwrap_or_default();
        server.volume.force_read_only(format!("a request ({what}) panicked: {cause}"));
        Err(Errno::EIO)
    })
}
