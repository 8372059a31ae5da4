//! Queries over tiers in memory, held against the flat list of all samples.

mod flat_list;
mod memory;
mod queries;
mod scene;
