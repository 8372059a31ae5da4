//! The buffer on disks that are full, fail or go away, and in processes that are killed. The disks are real: each
//! test that needs one runs itself again in a mount namespace of its own (`unshare`), where it may mount what it
//! likes and leaves nothing behind.

mod disk;
mod kill;
mod load;
mod namespace;
