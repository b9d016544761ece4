//! Loaded models of this process, by the SHA-256 of their bytes.
//!
//! Bounded in bytes; the model that was asked for longest ago goes first. A query keeps what it uses: an `Arc` in its
//! plan. Before it has that, two gaps are closed:
//! * `sqlml_loaded` folds to true while a query is planned, and the plan then holds no bytes to load from: a model that
//!   was promised lately is kept aside when it is evicted or forgotten (`GRACE`; planning takes milliseconds).
//! * A query may be bound before another one loads the model and be told that it is loaded after that: it leaves a
//!   `Claim`, which whoever loads the model, or promises it, fills.

use crate::error::Error;
use crate::model::Model;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};

const DEFAULT_LIMIT: usize = 1 << 30;
const GRACE: Duration = Duration::from_secs(10);

static CACHE: LazyLock<Mutex<Cache>> = LazyLock::new(|| {
    Mutex::new(Cache::new(
        limit_from_environment().unwrap_or(DEFAULT_LIMIT),
    ))
});

/// A place for the model of one query.
#[derive(Default)]
pub struct Claim {
    model: OnceLock<Arc<Model>>,
}

impl Claim {
    pub fn model(&self) -> Option<&Arc<Model>> {
        self.model.get()
    }

    pub fn fill(&self, model: Arc<Model>) {
        // The first one stays: all models of a key are the same.
        let _ = self.model.set(model);
    }
}

/// What `sqlml_models()` shows.
pub struct Shown {
    pub key: String,
    pub model: Arc<Model>,
    pub hits: u64,
    pub loaded_at: SystemTime,
}

struct Entry {
    model: Arc<Model>,
    /// When it was asked for: higher is later.
    used: u64,
    hits: u64,
    promised: Option<Instant>,
    loaded_at: SystemTime,
}

type Loading = Arc<OnceLock<Result<Arc<Model>, Error>>>;

struct Cache {
    entries: HashMap<String, Entry>,
    clock: u64,
    bytes: usize,
    limit: usize,
    loading: HashMap<String, Loading>,
    leaving: Vec<(Instant, String, Arc<Model>)>,
    claims: HashMap<String, Vec<Weak<Claim>>>,
}

/// The SHA-256 in a key: what stands behind it, with a blank between, is what `sqlml_explain` is asked for.
pub fn hash(key: &str) -> &str {
    key.split(' ').next().unwrap_or(key)
}

/// The claim of a query that is bound: filled if the model is there.
pub fn claim(key: &str) -> Arc<Claim> {
    lock().claim(key)
}

/// Whether the model is there; if so, it stays available to the query that asks, whatever happens meanwhile.
pub fn promise(key: &str) -> bool {
    lock().promise(key)
}

/// The model, without counting it as a use.
pub fn peek(key: &str) -> Option<Arc<Model>> {
    lock().entries.get(key).map(|entry| entry.model.clone())
}

/// The model of these bytes, which must have this hash. Several threads at once: one of them reads the bytes.
pub fn load(key: &str, bytes: &[u8]) -> Result<Arc<Model>, Error> {
    let found = sha256(bytes);
    if found != hash(key) {
        return Err(Error::Failed(format!(
            "its bytes have another SHA-256 ({}): they were damaged",
            short(&found)
        )));
    }
    load_hashed(key, bytes)
}

/// Loads a model by its bytes alone; the key is their hash.
pub fn load_any(bytes: &[u8]) -> Result<String, Error> {
    let key = sha256(bytes);
    load_hashed(&key, bytes)?;
    Ok(key)
}

/// Loads the model of a key, and what explains it where the key asks for that. One that cannot be explained is loaded all
/// the same: who asks for an explanation is told why there is none.
pub fn load_with(key: &str, bytes: &[u8]) -> Result<(), Error> {
    load(hash(key), bytes)?;
    if key != hash(key) {
        let _ = load_hashed(key, bytes);
    }
    Ok(())
}

fn load_hashed(key: &str, bytes: &[u8]) -> Result<Arc<Model>, Error> {
    let loading = match lock().begin(key) {
        Ok(model) => return Ok(model),
        Err(loading) => loading,
    };
    let outcome = loading
        .get_or_init(|| {
            let made = match key.split_once(' ') {
                Some((_, request)) => Model::explaining(bytes, request),
                None => Model::load(bytes),
            };
            made.map(Arc::new)
        })
        .clone();
    let mut cache = lock();
    cache.loading.remove(key);
    if let Ok(model) = &outcome {
        cache.insert(key, model.clone(), None);
    }
    outcome
}

pub fn forget(key: &str) -> bool {
    lock().remove(key)
}

pub fn models() -> Vec<Shown> {
    let cache = lock();
    let mut shown: Vec<Shown> = cache
        .entries
        .iter()
        .map(|(key, entry)| Shown {
            key: key.clone(),
            model: entry.model.clone(),
            hits: entry.hits,
            loaded_at: entry.loaded_at,
        })
        .collect();
    shown.sort_by(|a, b| a.key.cmp(&b.key));
    shown
}

/// Sets the limit in bytes and gives the one before it.
pub fn set_limit(limit: usize) -> usize {
    let mut cache = lock();
    let before = std::mem::replace(&mut cache.limit, limit);
    cache.evict("");
    before
}

pub fn limit() -> usize {
    lock().limit
}

/// The start of a key, for messages.
pub fn short(key: &str) -> &str {
    key.get(..12).unwrap_or(key)
}

/// As lower-case hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// What is wrong with the environment's limit, if anything: a cache that ignored it would take all that it was to save.
pub fn check_environment() -> Result<(), String> {
    limit_from_environment().map(|_| ())
}

fn limit_from_environment() -> Result<usize, String> {
    let Some(limit) = std::env::var_os("SQLML_CACHE_BYTES").filter(|limit| !limit.is_empty())
    else {
        return Ok(DEFAULT_LIMIT);
    };
    let number = limit.to_str().and_then(|limit| limit.trim().parse().ok());
    number.ok_or_else(|| {
        format!("sqlml: SQLML_CACHE_BYTES is {limit:?}, which is no number of bytes")
    })
}

fn lock() -> MutexGuard<'static, Cache> {
    // A panic while it was held leaves maps that are whole: nothing here stops half-way.
    CACHE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cache {
    fn new(limit: usize) -> Cache {
        Cache {
            entries: HashMap::new(),
            clock: 0,
            bytes: 0,
            limit,
            loading: HashMap::new(),
            leaving: Vec::new(),
            claims: HashMap::new(),
        }
    }

    fn claim(&mut self, key: &str) -> Arc<Claim> {
        self.expire();
        let claim = Arc::new(Claim::default());
        match self.use_entry(key).or_else(|| self.back(key)) {
            Some(model) => claim.fill(model),
            None => {
                // Of queries that ended without it, too: a key that nobody ever loads leaves nothing behind.
                self.claims.retain(|_, waiting| {
                    waiting.retain(|claim| claim.strong_count() > 0);
                    !waiting.is_empty()
                });
                let waiting = self.claims.entry(key.to_owned()).or_default();
                waiting.push(Arc::downgrade(&claim));
            }
        }
        claim
    }

    fn promise(&mut self, key: &str) -> bool {
        self.expire();
        let Some(entry) = self.entries.get_mut(key) else {
            return false;
        };
        entry.promised = Some(Instant::now());
        true
    }

    /// The model if it is loaded, else where the one thread that reads it leaves it.
    fn begin(&mut self, key: &str) -> Result<Arc<Model>, Loading> {
        match self.use_entry(key) {
            Some(model) => Ok(model),
            None => Err(self.loading.entry(key.to_owned()).or_default().clone()),
        }
    }

    fn use_entry(&mut self, key: &str) -> Option<Arc<Model>> {
        self.clock += 1;
        let entry = self.entries.get_mut(key)?;
        entry.used = self.clock;
        entry.hits += 1;
        Some(entry.model.clone())
    }

    /// A model that has just left, and is wanted again.
    fn back(&mut self, key: &str) -> Option<Arc<Model>> {
        let place = self
            .leaving
            .iter()
            .position(|(_, leaving, _)| leaving == key)?;
        let (promised, _, model) = self.leaving.swap_remove(place);
        self.insert(key, model.clone(), Some(promised));
        Some(model)
    }

    fn insert(&mut self, key: &str, model: Arc<Model>, promised: Option<Instant>) {
        for claim in self
            .claims
            .remove(key)
            .unwrap_or_default()
            .iter()
            .filter_map(Weak::upgrade)
        {
            claim.fill(model.clone());
        }
        if self.entries.contains_key(key) {
            return;
        }
        self.clock += 1;
        self.bytes += model.bytes();
        let entry = Entry {
            model,
            used: self.clock,
            hits: 0,
            promised,
            loaded_at: SystemTime::now(),
        };
        self.entries.insert(key.to_owned(), entry);
        self.expire();
        self.evict(key);
    }

    /// Until the limit holds; the model just loaded goes last, for a query waits for it.
    fn evict(&mut self, keep: &str) {
        while self.bytes > self.limit {
            let oldest = self
                .entries
                .iter()
                .filter(|(key, _)| *key != keep)
                .min_by_key(|(_, entry)| entry.used);
            let Some(key) = oldest.map(|(key, _)| key.clone()) else {
                break;
            };
            self.remove(&key);
        }
        if self.bytes > self.limit {
            self.remove(keep);
        }
    }

    fn remove(&mut self, key: &str) -> bool {
        let Some(entry) = self.entries.remove(key) else {
            return false;
        };
        self.bytes -= entry.model.bytes();
        if let Some(promised) = entry.promised.filter(|promised| promised.elapsed() < GRACE) {
            self.leaving.push((promised, key.to_owned(), entry.model));
        }
        true
    }

    fn expire(&mut self) {
        self.leaving
            .retain(|(promised, _, _)| promised.elapsed() < GRACE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_on_what_is_never_loaded_go_with_their_queries() {
        let mut cache = Cache::new(0);
        let kept = [cache.claim("a"), cache.claim("a"), cache.claim("b")];
        for key in 0..100 {
            cache.claim(&key.to_string());
        }
        let mut waiting: Vec<(&str, usize)> = cache
            .claims
            .iter()
            .filter(|(_, waiting)| waiting.iter().any(|claim| claim.strong_count() > 0))
            .map(|(key, waiting)| (key.as_str(), waiting.len()))
            .collect();
        waiting.sort_unstable();
        assert_eq!(waiting, [("a", 2), ("b", 1)]);
        assert!(cache.claims.len() <= 3);
        assert_eq!(kept.len(), 3);
    }
}
