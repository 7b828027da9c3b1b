//! The `mo-backup` program.
fn main() {}
