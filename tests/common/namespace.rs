//! Network namespaces: networks of this machine that know nothing of one another.

use std::future::Future;
use std::os::fd::AsFd;
use std::process::Command;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Runs `ip` with these words.
pub(crate) fn ip(words: &[&str]) -> Result<(), String> {
    let done = Command::new("ip").args(words).output();
    match done {
        Ok(done) if done.status.success() => Ok(()),
        Ok(done) => Err(format!("ip {words:?}: {}", String::from_utf8_lossy(&done.stderr).trim())),
        Err(error) => Err(format!("there is no ip: {error}")),
    }
}

/// Runs something on threads that are in a namespace.
pub(crate) fn within<F: Future<Output = ()>>(name: &str, body: impl FnOnce() -> F + Send) {
    let path = format!("/run/netns/{name}");
    let enter = move || {
        let namespace = std::fs::File::open(&path).expect("the namespace is there");
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
            .expect("whoever made it may enter it");
    };
    let run = || {
        enter();
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_all().on_thread_start(enter.clone()).build();
        runtime.expect("a runtime").block_on(body());
    };
    // A thread that has entered it does not come back: not one of the test harness.
    let ended = std::thread::scope(|scope| scope.spawn(run).join());
    if let Err(panic) = ended {
        std::panic::resume_unwind(panic);
    }
}
