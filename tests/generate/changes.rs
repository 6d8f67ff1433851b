//! People who change their traits: the hard cases of folding traits.
//!
//! - Forms that are filled in before the login, so that profiles with traits merge later, one after the other.
//! - Removed traits, including whole objects.
//! - Traits that arrive late, after newer values.
//! - Devices that send traits in the same millisecond.
//! - Traits that are sometimes a number and sometimes a text.
//! - Two traits with the same column.

use super::{
    CITIES, Device, FIRST_NAMES, PLANS, Shop, Visit, context,
    text::{DAY, Object, Time, Uuid},
};

impl Shop {
    /// Returns an identify call, or a batch of several.
    pub(super) fn change_of_mind(&mut self, visit: &Visit) -> String {
        if self.random.per_mille(30.0) {
            return self.guest();
        }
        let traits = match self.random.below(3) {
            0 => self.removals(),
            _ => self.form(),
        };
        let late = if self.random.per_mille(300.0) { self.random.below(3 * DAY) } else { 0 };
        let n_devices = self.people[visit.person].devices.len();
        if self.device(visit) == Device::Web && 1 < n_devices && self.random.per_mille(400.0) {
            let other = 1 + self.random.index(n_devices - 1);
            let form = self.form();
            let items = [self.told(visit, visit.device, &traits, late), self.told(visit, other, &form, late)];
            return self.batch(&items);
        }
        self.told(visit, visit.device, &traits, late)
    }

    /// Returns an identify call from a device. It has a `userId` only if the device is logged in, and not always then.
    fn told(&mut self, visit: &Visit, device: usize, traits: &str, late: u64) -> String {
        let person = &self.people[visit.person];
        let (number, numbered) = (person.number, person.numbered);
        let (kind, known) = (person.devices[device], person.known[device]);
        let mut event = Object::new();
        event.text("type", "identify").text("messageId", Uuid(self.random.next(), self.random.next()));
        event.text("anonymousId", Uuid(number, device as u64));
        if known && !numbered && self.random.per_mille(600.0) {
            event.text("userId", format_args!("user-{number:04}"));
        }
        event.raw("traits", traits);
        event.raw("context", context(kind, number, device as u64, false));
        event.text("timestamp", Time(self.now - late)).text("receivedAt", Time(self.now));
        event.text("projectId", "web");
        event.end()
    }

    /// Returns a batch from a guest who finally gives an e-mail address on each of three devices: the third profile is
    /// merged into the second, and then both into the first.
    fn guest(&mut self) -> String {
        let guest = self.random.next();
        let email = format!(r#"{{"email":"guest-{guest}@post.example"}}"#);
        let [one, two, three] = [self.form(), self.form(), self.removals()];
        let steps = [(0, &one), (1, &two), (2, &three), (2, &email), (1, &email), (0, &email)];
        let mut now = self.now - self.random.below(DAY);
        let items = steps.map(|(device, traits)| {
            now += 1000;
            let mut event = Object::new();
            event.text("type", "identify").text("messageId", Uuid(self.random.next(), self.random.next()));
            event.text("anonymousId", Uuid(guest, device)).raw("traits", traits);
            event.text("timestamp", Time(now)).text("projectId", "web");
            event.end()
        });
        self.batch(&items)
    }

    fn batch(&self, items: &[String]) -> String {
        let mut envelope = Object::new();
        envelope.raw("batch", format_args!("[{}]", items.join(",")));
        envelope.text("sentAt", Time(self.now)).text("receivedAt", Time(self.now + 70));
        envelope.end()
    }

    fn form(&mut self) -> String {
        let mut traits = Object::new();
        if self.random.per_mille(500.0) {
            traits.text("nickname", FIRST_NAMES[self.random.index(FIRST_NAMES.len())]);
        }
        if self.random.per_mille(400.0) {
            traits.text("plan", PLANS[self.random.index(PLANS.len())]);
        }
        if self.random.per_mille(300.0) {
            let (city, country, _) = CITIES[self.random.index(CITIES.len())];
            traits.raw("address", format_args!(r#"{{"city":"{city}","country":"{country}"}}"#));
        }
        if self.random.per_mille(100.0) {
            // A trait with the same column as the city of `address`.
            traits.text("address_city", CITIES[self.random.index(CITIES.len())].0);
        }
        let height = self.random.below(200);
        match self.random.below(4) {
            0 => traits.raw("gardenSize", format_args!("{height}.5")),
            1 => traits.text("gardenSize", "a balcony"),
            2 => traits.text("gardenSize", ""),
            _ => traits.raw("gardenSize", height),
        };
        traits.raw("giftWrap", height.is_multiple_of(3));
        traits.end()
    }

    fn removals(&mut self) -> String {
        let mut traits = Object::new();
        for name in ["address", "address_city", "plan", "nickname", "gardenSize", "loyaltyPoints", "tags"] {
            if self.random.per_mille(400.0) {
                traits.raw(name, "null");
            }
        }
        traits.raw("giftWrap", "false");
        traits.end()
    }
}
