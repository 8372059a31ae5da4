//! The technician's tools as a technician or a script meets them: the built program against live
//! servers and lines, judged by what it prints and how it ends.

mod line;
mod program;
#[expect(dead_code, reason = "the tools' own tests use the rest")]
mod server;

mod buffer;
mod exit_codes;
mod f7;
mod serial;
mod write;
