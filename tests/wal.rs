//! The log on disk against power cuts, rotten bytes and failing calls. The long forms are `make test-durability`.

#[path = "wal/disk.rs"]
mod disk;
#[path = "wal/faults.rs"]
mod faults;
#[path = "wal/freeing.rs"]
mod freeing;
#[path = "wal/golden.rs"]
mod golden;
#[path = "wal/model.rs"]
mod model;
#[path = "wal/packed.rs"]
mod packed;
#[path = "wal/peers.rs"]
mod peers;
#[path = "wal/power.rs"]
mod power;
#[path = "wal/rot.rs"]
mod rot;
