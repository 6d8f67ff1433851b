//! A reader for inputs whose writer may be slow: the standard input or a pipe.
//!
//! A blocked read only returns when more bytes arrive or the stream ends. The read therefore happens on its own thread,
//! so that the run can still be interrupted.

use std::{
    io::{self, Cursor, Read},
    path::Path,
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    thread,
    time::Duration,
};

use super::inputs::Input;
use crate::{
    error::{Error, Result},
    files::Files,
    progress::Progress,
};

/// Bytes passed to the reader at a time.
const BUFFER_BYTES: usize = 1 << 18;

/// Number of buffers that are read ahead.
const N_BUFFERS: usize = 4;

/// How often a waiting run checks whether it was interrupted.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The bytes of a stream, read ahead by another thread.
pub(super) struct InterruptibleReader<'a> {
    chunks: Receiver<io::Result<Vec<u8>>>,
    chunk: Cursor<Vec<u8>>,
    progress: &'a dyn Progress,
}

impl<'a> InterruptibleReader<'a> {
    /// Starts a thread that opens the stream, which may block too, and reads ahead.
    pub(super) fn open(input: &Input, files: &Files, progress: &'a dyn Progress) -> Result<Self> {
        let (sender, chunks) = sync_channel(N_BUFFERS);
        let (input, files, path) = (input.clone(), files.clone(), input.path.clone());
        thread::Builder::new()
            .spawn(move || read_ahead(&input, &files, &sender))
            .map_err(|e| Error::io("start a thread to read", path, e))?;
        Ok(Self { chunks, chunk: Cursor::default(), progress })
    }

    /// Converts an I/O error from the stream or its decoder. Returns the library error if it wraps one.
    pub(super) fn error(path: &Path, e: io::Error) -> Error {
        e.downcast().unwrap_or_else(|e| Error::io("read", path, e))
    }
}

impl Read for InterruptibleReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let n_read = self.chunk.read(out)?;
            if 0 < n_read || out.is_empty() {
                return Ok(n_read);
            }
            match self.chunks.recv_timeout(POLL_INTERVAL) {
                Ok(chunk) => self.chunk = Cursor::new(chunk?),
                // An error is sent before the sender is dropped, so this is the end of the stream.
                Err(RecvTimeoutError::Disconnected) => return Ok(0),
                Err(RecvTimeoutError::Timeout) if self.progress.interrupted() => {
                    return Err(io::Error::other(Error::Interrupted));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

/// Reads a stream until it ends or the receiver is gone.
fn read_ahead(input: &Input, files: &Files, sender: &SyncSender<io::Result<Vec<u8>>>) {
    let opened: Result<Box<dyn Read>> = if input.is_stdin() {
        Ok(Box::new(io::stdin()))
    } else {
        files.open(&input.path).map(|file| Box::new(file) as _)
    };
    let mut stream = match opened.map_err(io::Error::other) {
        Ok(stream) => stream.take(BUFFER_BYTES as u64),
        Err(e) => {
            // If the receiver is gone, the error can be dropped.
            let _ = sender.send(Err(e));
            return;
        }
    };
    loop {
        let mut chunk = Vec::with_capacity(BUFFER_BYTES);
        stream.set_limit(BUFFER_BYTES as u64);
        let read = stream.read_to_end(&mut chunk);
        let ended = !matches!(read, Ok(BUFFER_BYTES));
        if sender.send(read.map(|_| chunk)).is_err() || ended {
            return;
        }
    }
}
