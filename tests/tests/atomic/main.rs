//! Goal: failure-atomic files keep their word for programs that know nothing of them: through a
//! mount, with the kernel's page cache in between, under crashes of the server.
//!
//! | file | idea |
//! |---|---|
//! | `calls.rs` | every ioctl, every error, every way to commit and to give up |
//! | `generations.rs` | a writer stamps generations into a file; the server is killed; one is there |
//! | `databases.rs` | SQLite and PostgreSQL without their own protection against torn writes |
//! | `batch.rs` | SQLite that speaks F2FS's ioctls |
//! | `files.rs` | what they share |

mod batch;
mod calls;
mod databases;
mod files;
mod generations;
