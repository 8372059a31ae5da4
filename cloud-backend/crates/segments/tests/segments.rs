//! Segments as their users see them: bytes that return bit by bit, and a sealing that is killed and repeated.

#[path = "segments/golden.rs"]
mod golden;
#[path = "segments/round_trip.rs"]
mod round_trip;
#[path = "segments/sealing.rs"]
mod sealing;
