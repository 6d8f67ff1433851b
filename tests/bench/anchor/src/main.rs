//! A typed pass over a dump with sonic-rs: parses the fields that identify people and keeps the other fields raw.
//!
//! Usage: `anchor DUMP THREADS`
//!
//! Each thread takes the next 1 MiB of lines. The program prints totals over all fields, so that the compiler cannot
//! remove any work.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use serde::Deserialize;
use sonic_rs::LazyValue;

const BLOCK: u64 = 1 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    #[serde(borrow, rename = "type")]
    call: &'a str,
    #[serde(borrow)]
    message_id: Option<&'a str>,
    #[serde(borrow)]
    anonymous_id: Option<LazyValue<'a>>,
    #[serde(borrow)]
    user_id: Option<LazyValue<'a>>,
    #[serde(borrow)]
    event: Option<LazyValue<'a>>,
    #[serde(borrow)]
    name: Option<LazyValue<'a>>,
    #[serde(borrow)]
    timestamp: Option<&'a str>,
    #[serde(borrow)]
    original_timestamp: Option<&'a str>,
    #[serde(borrow)]
    sent_at: Option<&'a str>,
    #[serde(borrow)]
    received_at: Option<&'a str>,
    #[serde(borrow)]
    context: Option<Context<'a>>,
    #[serde(borrow)]
    traits: Option<LazyValue<'a>>,
    #[serde(borrow)]
    properties: Option<LazyValue<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Context<'a> {
    #[serde(borrow)]
    device: Option<Device<'a>>,
    #[serde(borrow)]
    traits: Option<Traits<'a>>,
    #[serde(borrow)]
    external_ids: Option<LazyValue<'a>>,
    #[serde(borrow)]
    integrations: Option<LazyValue<'a>>,
    #[serde(borrow)]
    page: Option<LazyValue<'a>>,
    #[serde(borrow)]
    user_agent: Option<LazyValue<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Device<'a> {
    #[serde(borrow)]
    id: Option<LazyValue<'a>>,
    #[serde(borrow, rename = "type")]
    kind: Option<LazyValue<'a>>,
    #[serde(borrow)]
    advertising_id: Option<LazyValue<'a>>,
    ad_tracking_enabled: Option<bool>,
    #[serde(borrow)]
    token: Option<LazyValue<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Traits<'a> {
    #[serde(borrow)]
    email: Option<LazyValue<'a>>,
    #[serde(borrow)]
    cross_domain_id: Option<LazyValue<'a>>,
}

fn raw(value: Option<&LazyValue<'_>>) -> u64 {
    value.map_or(0, |value| value.as_raw_str().len() as u64)
}

impl Context<'_> {
    fn weight(&self) -> u64 {
        let own = [&self.external_ids, &self.integrations, &self.page, &self.user_agent];
        let device = self.device.as_ref().map_or(0, |device| {
            let texts = [&device.id, &device.kind, &device.advertising_id, &device.token];
            let flag = u64::from(device.ad_tracking_enabled == Some(true));
            texts.into_iter().map(|value| raw(value.as_ref())).sum::<u64>() + flag
        });
        let traits = self
            .traits
            .as_ref()
            .map_or(0, |traits| raw(traits.email.as_ref()) + raw(traits.cross_domain_id.as_ref()));
        own.into_iter().map(|value| raw(value.as_ref())).sum::<u64>() + device + traits
    }
}

impl Event<'_> {
    fn weight(&self) -> u64 {
        let text = |value: Option<&str>| value.map_or(0, |value| value.len() as u64);
        let raws =
            [&self.anonymous_id, &self.user_id, &self.event, &self.name, &self.traits, &self.properties];
        let texts =
            [self.message_id, self.timestamp, self.original_timestamp, self.sent_at, self.received_at];
        let context = self.context.as_ref().map_or(0, Context::weight);
        self.call.len() as u64
            + context
            + raws.into_iter().map(|value| raw(value.as_ref())).sum::<u64>()
            + texts.into_iter().map(text).sum::<u64>()
    }
}

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(path), Some(threads)) = (arguments.next(), arguments.next()) else {
        return Err(io::Error::other("usage: anchor DUMP THREADS"));
    };
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let next = AtomicU64::new(0);
    let work = || -> io::Result<(u64, u64)> {
        let (mut n_events, mut weight) = (0, 0);
        // Two blocks, because the last line of a block may end in the next.
        let mut buffer = vec![0; 2 * BLOCK as usize];
        loop {
            let start = next.fetch_add(BLOCK, Ordering::Relaxed);
            if length <= start {
                return Ok((n_events, weight));
            }
            let from = start.saturating_sub(1);
            let n_bytes = (length - from).min(2 * BLOCK) as usize;
            file.read_exact_at(&mut buffer[..n_bytes], from)?;
            let mut at = 0;
            if 0 < start {
                at = memchr::memchr(b'\n', &buffer[..n_bytes]).map_or(n_bytes, |end| end + 1);
            }
            let end = ((start + BLOCK).min(length) - from) as usize;
            while at < end {
                let line_end =
                    memchr::memchr(b'\n', &buffer[at..n_bytes]).map_or(n_bytes, |found| at + found);
                if let Ok(event) = sonic_rs::from_slice::<Event<'_>>(&buffer[at..line_end]) {
                    n_events += 1;
                    weight += event.weight();
                }
                at = line_end + 1;
            }
        }
    };
    let n_threads = threads.parse::<usize>().map_err(io::Error::other)?;
    let counts = thread::scope(|scope| {
        let workers: Vec<_> = (0..n_threads).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .map(|worker| worker.join().map_err(|_| io::Error::other("a thread panicked"))?)
            .collect::<io::Result<Vec<_>>>()
    })?;
    let (n_events, weight) =
        counts.into_iter().fold((0, 0), |(events, weight), (e, w)| (events + e, weight + w));
    println!("{n_events} events, {weight} bytes of fields");
    Ok(())
}
