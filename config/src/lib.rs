//! Flags, environment variables and YAML files to one checked [`Config`].
//!
//! Everything here is a function of its arguments: the command line, the environment, the machine's cores and memory and the
//! texts of files are handed in, and nothing is read or written. There is one table of settings ([`table::SETTINGS`]); the flags, the help
//! text, the validation, the `--check-config` listing and the table in `docs/config.md` all come from it.
//!
//! ```text
//! 1 parse    flags (clap) and CONDUIT_* variables -> text per setting, with its origin      flags, resolve
//! 2 convert  text -> value within its bounds                                                setting
//! 3 relate   values that contradict each other                                              relations
//! 4 settle   values that follow from others (credit window, shards from CPUs)               resolve, machine
//! ```
//!
//! Order: flag > environment > file > default. All problems are collected and told together.
#![forbid(unsafe_code)]

pub mod config;
pub mod cpus;
pub mod document;
pub mod durability;
pub mod edge;
pub mod file;
pub mod flags;
pub mod loader;
pub mod machine;
pub mod memory;
pub mod networks;
pub mod origins;
pub mod policy;
pub mod problem;
pub mod relations;
pub mod reserved;
pub mod resolve;
pub mod rules;
pub mod secret;
pub mod setting;
pub mod snippet;
pub mod table;
pub mod tenants;
pub mod tree;
pub mod yaml;

mod nearest;

pub use config::{Config, LogFormat, LogLevel};
pub use durability::DurabilityRules;
pub use edge::FileChoice;
pub use file::ConfigFile;
pub use flags::Flags;
pub use loader::{Changes, Loaded, LoadedFile, Loader, diff};
pub use machine::Machine;
pub use memory::MemoryBound;
pub use problem::{EXIT_CODE, Problem, Problems};
pub use resolve::{Origin, Place, Resolved, resolve, resolve_with};
pub use secret::Secret;
pub use setting::Setting;
