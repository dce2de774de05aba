//! Faults of the machine, the network and the operator against the real
//! program, each test named after its number in the list of faults.
//!
//! Every test has a relay process of its own and a record of what publishers
//! and the subscriber saw; an oracle says whether it may have been so. Tests
//! that need what this machine does not permit say so on standard error and pass.
//!
//! The long ones are not run by default:
//!
//! ```sh
//! cargo test --release --test faults -- --ignored --nocapture
//! ```

mod faults {
    mod client;
    mod disk_faults;
    mod load;
    mod network_faults;
    mod oracle;
    mod power_faults;
    mod process;
    mod process_faults;
    mod proxy;
    mod random;
    mod raw;
    mod starved;
    mod syscall_faults;
    mod tracer;
    mod volume;
}
