//! The threads that wait for a token, so that nobody else does.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

type Job = Box<dyn FnOnce() + Send>;

/// A few threads, which end when this goes. One that a token never answers stays behind and holds up nobody, not even the end of the process.
#[derive(Debug)]
pub(crate) struct Workers(Sender<Job>);

impl Workers {
    /// So many threads.
    ///
    /// # Errors
    /// What the system says when it gives none.
    pub(crate) fn new(count: usize) -> std::io::Result<Self> {
        let (sender, jobs) = channel();
        let jobs: Arc<Mutex<Receiver<Job>>> = Arc::new(Mutex::new(jobs));
        for number in 1..=count {
            let jobs = Arc::clone(&jobs);
            thread::Builder::new().name(format!("pkcs11-{number}")).spawn(move || {
                while let Some(job) = next(&jobs) {
                    job();
                }
            })?;
        }
        Ok(Self(sender))
    }

    /// Has one of them do it. Whoever calls keeps the number of jobs within that of the threads.
    pub(crate) fn run(&self, job: impl FnOnce() + Send + 'static) {
        // The threads are there as long as this is.
        drop(self.0.send(Box::new(job)));
    }
}

fn next(jobs: &Mutex<Receiver<Job>>) -> Option<Job> {
    jobs.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}
