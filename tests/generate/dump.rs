//! Generates the events of a fictitious shop and its visitors.
//!
//! People browse on several devices, log in now and then, share a family browser, go offline and come back; servers
//! send batches. So a dump contains what real dumps contain: merges, late events, exact duplicates, blocked values,
//! missing message ids, and numbers in place of text.

mod changes;
mod text;

use std::{
    collections::VecDeque,
    io::{self, Write},
};

use text::{DAY, Email, Object, Random, Time, Uuid};

/// The parameters of a dump.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Knobs {
    /// The approximate number of events.
    pub(crate) events: u64,
    /// The seed of the random numbers.
    pub(crate) seed: u64,
    /// The number of days that the dump covers.
    pub(crate) days: u64,
    /// The percentage of lines that are not usable events.
    pub(crate) malformed: f64,
    /// The percentage of events in which people change their traits.
    pub(crate) changes: f64,
}

/// Writes a dump. The same parameters give the same bytes on every machine.
pub(crate) fn write(knobs: Knobs, out: &mut dyn Write) -> io::Result<()> {
    let step = (knobs.days.max(1) * DAY / knobs.events.max(1)).max(1);
    let mut shop = Shop {
        random: Random(knobs.seed),
        people: Vec::new(),
        visits: Vec::new(),
        now: START,
        changes: knobs.changes,
    };
    let mut held: VecDeque<(u64, String)> = VecDeque::new();
    let mut written = 0;
    while written < knobs.events {
        shop.now += 1 + shop.random.below(2 * step);
        if held.front().is_some_and(|(due, _)| *due <= written) {
            writeln!(out, "{}", held.pop_front().map(|(_, line)| line).unwrap_or_default())?;
            written += 1;
            continue;
        }
        if shop.random.per_mille(10.0 * knobs.malformed) {
            writeln!(out, "{}", shop.malformed())?;
            continue;
        }
        let line = shop.line();
        let due = written + 5 + shop.random.below(40);
        if shop.random.per_mille(25.0) {
            // A retry: the same line again, further down.
            held.push_back((due, line.clone()));
        } else if shop.random.per_mille(20.0) {
            // A line out of order, as if from another file or shard.
            held.push_back((due, line));
            continue;
        }
        writeln!(out, "{line}")?;
        written += 1;
    }
    Ok(())
}

/// 2026-03-01T00:00:00Z.
const START: u64 = 1_772_323_200_000;

const FIRST_NAMES: [&str; 12] = [
    "Ana",
    "Bj\u{f6}rn",
    "Chlo\u{e9}",
    "Dmitri",
    "Elif",
    "Farah",
    "\u{9ad8}\u{6a4b}",
    "Hugo",
    "In\u{ea}s",
    "Jonas",
    "Kofi",
    "Lucia",
];
const LAST_NAMES: [&str; 9] =
    ["Berg", "D'Angelo", "Garc\u{ed}a", "Haddad", "Ito", "M\u{fc}ller", "Okafor", "Silva", "Young"];
const CITIES: [(&str, &str, &str); 5] = [
    ("Oslo", "NO", "0150"),
    ("S\u{e3}o Paulo", "BR", "01000-000"),
    ("Lyon", "FR", "69001"),
    ("Kyoto", "JP", "600-8001"),
    ("Denver", "US", "80202"),
];
const PAGES: [(&str, &str); 6] = [
    ("/", "Home"),
    ("/plants", "Plants"),
    ("/plants/monstera", "Monstera \\\"Deliciosa\\\""),
    ("/care", "Plant care"),
    ("/cart", "Cart"),
    ("/account", "Your account"),
];
const PLANS: [&str; 3] = ["seedling", "gardener", "greenhouse"];
const BLOCKED: [&str; 4] = ["null", "-1", "anonymous", "00000000-0000-0000-0000-000000000000"];

#[derive(Clone, Copy, PartialEq)]
enum Device {
    Web,
    Ios,
    Android,
    Server,
}

struct Person {
    number: u64,
    devices: Vec<Device>,
    /// For each device, whether they are logged in.
    known: Vec<bool>,
    /// Whether their user id is a number, which servers send as a number and the other devices as text.
    numbered: bool,
    /// Whether their first login gives only an e-mail address.
    newsletter: bool,
}

struct Visit {
    person: usize,
    device: usize,
    left: u64,
    family_browser: bool,
}

struct Shop {
    random: Random,
    people: Vec<Person>,
    visits: Vec<Visit>,
    now: u64,
    changes: f64,
}

impl Shop {
    /// Returns the next line: usually one event, sometimes a batch from a server.
    fn line(&mut self) -> String {
        let visit = self.visit();
        // At 0, no random number is drawn, so that dumps from before this parameter existed stay the same.
        if 0.0 < self.changes && self.random.per_mille(10.0 * self.changes) {
            return self.change_of_mind(&visit);
        }
        if self.device(&visit) == Device::Server && self.random.per_mille(500.0) {
            let sent = self.now;
            let items: Vec<_> = (0..2 + self.random.below(2)).map(|_| self.event(&visit, true)).collect();
            let mut envelope = Object::new();
            envelope.raw("batch", format_args!("[{}]", items.join(",")));
            envelope
                .raw("context", r#"{"library":{"name":"analytics-go","version":"3.3.0"},"ip":"10.1.2.3"}"#);
            envelope.text("sentAt", Time(sent)).text("receivedAt", Time(sent + 90));
            return envelope.end();
        }
        self.event(&visit, false)
    }

    /// Continues one of the current visits or starts a new one.
    fn visit(&mut self) -> Visit {
        if self.visits.len() < 6 {
            let person = if self.people.is_empty() || self.random.per_mille(270.0) {
                self.person()
            } else {
                self.random.index(self.people.len())
            };
            let device = self.random.index(self.people[person].devices.len());
            let left = 2 + self.random.below(7);
            let family_browser =
                self.people[person].devices[device] == Device::Web && self.random.per_mille(120.0);
            self.visits.push(Visit { person, device, left, family_browser });
        }
        let at = self.random.index(self.visits.len());
        self.visits[at].left -= 1;
        let Visit { person, device, left, family_browser } = self.visits[at];
        if left == 0 {
            self.visits.swap_remove(at);
        }
        Visit { person, device, left, family_browser }
    }

    fn person(&mut self) -> usize {
        let mut devices = vec![Device::Web];
        for (device, chance) in [(Device::Ios, 350.0), (Device::Android, 250.0), (Device::Server, 250.0)] {
            if self.random.per_mille(chance) {
                devices.push(device);
            }
        }
        let known = devices.iter().map(|device| *device == Device::Server).collect();
        let numbered = self.random.per_mille(400.0);
        let newsletter = self.random.per_mille(150.0);
        let number = self.people.len() as u64;
        self.people.push(Person { number, devices, known, numbered, newsletter });
        self.people.len() - 1
    }

    fn device(&self, visit: &Visit) -> Device {
        self.people[visit.person].devices[visit.device]
    }

    /// Returns one event. In a batch, it lacks the members that the envelope has.
    fn event(&mut self, visit: &Visit, in_batch: bool) -> String {
        let device = self.device(visit);
        let was_known = self.people[visit.person].known[visit.device];
        let logs_in = !was_known && (visit.left == 1 || self.random.per_mille(150.0));
        if logs_in {
            self.people[visit.person].known[visit.device] = true;
        }
        let kind = self.kind(device, was_known, logs_in);
        let person = &self.people[visit.person];
        let by_email_only = person.newsletter && visit.device == 0 && logs_in;
        let (number, numbered) = (person.number, person.numbered);
        let blocked = if self.random.per_mille(15.0) { Some(BLOCKED[self.random.index(4)]) } else { None };

        let mut event = Object::new();
        event.text("type", kind);
        if device == Device::Server && self.random.per_mille(150.0) {
            // An old client library that sends no message ids.
        } else {
            event.text("messageId", Uuid(self.random.next(), self.random.next()));
        }
        if device != Device::Server {
            match blocked {
                Some(value) => event.text("anonymousId", value),
                None if visit.family_browser => event.text("anonymousId", Uuid(number / 3, 77)),
                None => event.text("anonymousId", Uuid(number, visit.device as u64)),
            };
        }
        if (was_known || logs_in) && !by_email_only {
            match (blocked, numbered && device == Device::Server) {
                (Some(value), _) if device == Device::Server => event.text("userId", value),
                (_, true) => event.raw("userId", 10_000 + number),
                (_, false) if numbered => event.text("userId", 10_000 + number),
                (_, false) => event.text("userId", format_args!("user-{number:04}")),
            };
        }
        self.call(&mut event, kind, number);
        if !in_batch {
            let context = context(device, number, visit.device as u64, was_known && kind != "identify");
            event.raw("context", context);
        }
        self.times(&mut event, device, in_batch);
        event.text(
            "projectId",
            match device {
                Device::Web => "web",
                Device::Ios => "ios",
                Device::Android => "android",
                Device::Server => "backend",
            },
        );
        event.end()
    }

    fn kind(&mut self, device: Device, known: bool, logs_in: bool) -> &'static str {
        let die = self.random.below(100);
        match (device, die) {
            _ if logs_in => "identify",
            (_, 0..=2) if known => "group",
            (_, 3..=4) if known => "alias",
            (_, 5..=14) if known => "identify",
            (Device::Web, 0..=54) => "page",
            (Device::Ios | Device::Android, 0..=44) => "screen",
            _ => "track",
        }
    }

    /// Appends the members that only this type of call has.
    fn call(&mut self, event: &mut Object, kind: &str, number: u64) {
        let (path, title) = PAGES[self.random.index(PAGES.len())];
        match kind {
            "identify" => event.raw("traits", self.traits(number)),
            "group" => {
                let name = LAST_NAMES[self.random.index(9)];
                let traits =
                    format!(r#"{{"name":"{name} & Co","employees":{},"plan":null}}"#, 3 + number * 7);
                event.text("groupId", format_args!("org_{}", number % 5)).raw("traits", traits)
            }
            "alias" => event.text("previousId", Uuid(number, 0)),
            "page" => {
                let properties =
                    format!(r#"{{"path":"{path}","title":"{title}","url":"https://shop.example{path}"}}"#);
                event.text("name", title).text("category", "shop").raw("properties", properties)
            }
            "screen" => event
                .text("name", title)
                .raw("properties", format_args!(r#"{{"depth":{}}}"#, self.random.below(9))),
            _ => {
                let (name, properties) = self.tracked();
                event.text("event", name).raw("properties", properties)
            }
        };
    }

    fn tracked(&mut self) -> (&'static str, String) {
        let (plant, cents) = (self.random.below(90), self.random.below(100));
        match self.random.below(6) {
            0 => (
                "Order Completed",
                format!(
                    r#"{{"orderId":"o-{plant}-{cents}","total":{plant}.{cents:02},"currency":"EUR","coupon":null,"products":[{{"sku":"P-{plant}","quantity":2}}]}}"#
                ),
            ),
            1 => ("Product Added", format!(r#"{{"sku":"P-{plant}","price":{plant}.50,"quantity":1}}"#)),
            2 => (
                "Products Searched",
                format!(r#"{{"query":"caf\u00e9 {plant}","filters":{{"light":"low","max price":{plant}}}}}"#),
            ),
            3 => ("Newsletter Opened", format!(r#"{{"issue":{plant},"links":["a","b"]}}"#)),
            4 => ("App Opened", r#"{"fromBackground":false}"#.to_owned()),
            _ => ("Product Viewed", format!(r#"{{"sku":"P-{plant}","inStock":{}}}"#, cents < 80)),
        }
    }

    fn traits(&mut self, number: u64) -> String {
        let mut traits = Object::new();
        let first = FIRST_NAMES[Random(number).index(12)];
        let last = LAST_NAMES[Random(number + 999).index(9)];
        traits.text("email", Email(number)).text("firstName", first).text("lastName", last);
        if self.random.per_mille(500.0) {
            let (city, country, code) = CITIES[self.random.index(5)];
            traits.raw(
                "address",
                format_args!(r#"{{"city":"{city}","country":"{country}","postalCode":"{code}"}}"#),
            );
            traits.text("plan", PLANS[self.random.index(3)]);
        }
        if self.random.per_mille(300.0) {
            traits.raw("loyaltyPoints", self.random.below(5000)).raw("tags", r#"["green","2026"]"#);
        }
        if self.random.per_mille(100.0) {
            traits.raw("plan", "null");
        }
        traits.end()
    }

    fn times(&mut self, event: &mut Object, device: Device, in_batch: bool) {
        let lag = 40 + self.random.below(2000);
        // A phone that was offline sends hours later. A wrong clock affects both times that the device sets.
        let mobile = matches!(device, Device::Ios | Device::Android);
        let offline = if mobile && self.random.per_mille(100.0) { self.random.below(DAY / 2) } else { 0 };
        let wrong = if mobile && self.random.per_mille(100.0) { 3 * DAY } else { 0 };
        event.text("originalTimestamp", Time(self.now - lag - offline - wrong));
        if !in_batch {
            event.text("sentAt", Time(self.now - lag / 2 - wrong)).text("receivedAt", Time(self.now));
        }
        if self.random.per_mille(700.0) {
            event.text("timestamp", Time(self.now - lag / 2 - offline));
        }
    }

    fn malformed(&mut self) -> String {
        let time = Time(self.now);
        match self.random.below(6) {
            0 => r#"{"type":"track","event":"Cut Off","userId":"user-0001","timest"#.to_owned(),
            1 => "GET /plants HTTP/1.1".to_owned(),
            2 => r#"["an","array"]"#.to_owned(),
            3 => format!(r#"{{"type":"trak","userId":"user-0001","timestamp":"{time}"}}"#),
            4 => format!(r#"{{"type":"group","userId":"user-0001","groupId":"","timestamp":"{time}"}}"#),
            _ => r#"{"type":"track","event":"No Time","userId":"user-0001"}"#.to_owned(),
        }
    }
}

fn context(device: Device, number: u64, on: u64, told: bool) -> String {
    let mut context = Object::new();
    match device {
        Device::Web => {
            context
                .raw("library", r#"{"name":"analytics.js","version":"2.11.1"}"#)
                .raw("page", r#"{"path":"/","referrer":"https://search.example/"}"#);
            if number.is_multiple_of(4) {
                let client = format_args!(r#"{{"Google Analytics":{{"clientId":"{number}.{on}"}}}}"#);
                context.raw("integrations", client);
            }
        }
        Device::Ios | Device::Android => {
            let (kind, model) =
                if device == Device::Ios { ("iOS", "iPhone17,1") } else { ("android", "Pixel 10") };
            let (id, ad) = (Uuid(number, 40 + on), Uuid(number, 50 + on));
            let tracked = number.is_multiple_of(2);
            context
                .raw("library", r#"{"name":"analytics-mobile","version":"4.1.0"}"#)
                .raw(
                    "device",
                    format_args!(
                        r#"{{"id":"{id}","type":"{kind}","model":"{model}","adTrackingEnabled":{tracked},"advertisingId":"{ad}","token":"tok-{number}-{on}"}}"#
                    ),
                )
                .raw("os", r#"{"name":"mobile","version":"19.1"}"#);
        }
        Device::Server => {
            context.raw("library", r#"{"name":"analytics-go","version":"3.3.0"}"#);
        }
    }
    if told && number.is_multiple_of(3) {
        context.raw("traits", format_args!(r#"{{"email":"{}"}}"#, Email(number)));
    }
    if told && number.is_multiple_of(5) {
        let id = format_args!(
            r#"[{{"id":"crm-{number}","type":"crm_id","collection":"users","encoding":"none"}}]"#
        );
        context.raw("externalIds", id);
    }
    context.text("locale", "en-GB");
    context.end()
}
