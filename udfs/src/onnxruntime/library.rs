//! Finding onnxruntime and opening it, once per process, at the first model that needs it.

use super::api::{Api, ApiBase, Env, MemoryInfo, StatusPointer};
use super::api::{API_VERSION, ARENA_ALLOCATOR, DEFAULT_MEMORY, DEVICE_ALLOCATOR, FATAL};
use crate::error::{Error, Result};
use std::ffi::{c_char, c_int, c_void, CStr, CString};
use std::path::{Path, PathBuf};
use std::ptr::null_mut;
use std::sync::{Mutex, OnceLock, PoisonError};

/// Names the library's file, for where it lies neither beside the extension nor on the system's path.
pub const VARIABLE: &str = "SQLML_ONNXRUNTIME";

#[cfg(target_os = "macos")]
const NAMES: [&str; 2] = ["libonnxruntime.dylib", "libonnxruntime.1.dylib"];
#[cfg(not(target_os = "macos"))]
const NAMES: [&str; 2] = ["libonnxruntime.so", "libonnxruntime.so.1"];

/// onnxruntime, open. It stays open: its threads and its static objects do not survive being unloaded.
pub struct Library {
    pub api: &'static Api,
    pub env: *mut Env,
    pub memory: *mut MemoryInfo,
    pub path: String,
    pub version: String,
}

// SAFETY: the environment and the memory description are never written after they are made, and onnxruntime lets any
// thread use both.
unsafe impl Send for Library {}
// SAFETY: as above.
unsafe impl Sync for Library {}

static LIBRARY: OnceLock<Library> = OnceLock::new();
static OPENING: Mutex<()> = Mutex::new(());

/// The library, if a model has opened it already.
pub fn opened() -> Option<&'static Library> {
    LIBRARY.get()
}

/// The library. A failure is not remembered: the next model looks again, where `$SQLML_ONNXRUNTIME` may have been set.
pub fn library() -> Result<&'static Library> {
    if let Some(library) = LIBRARY.get() {
        return Ok(library);
    }
    let _one_at_a_time = OPENING.lock().unwrap_or_else(PoisonError::into_inner);
    if LIBRARY.get().is_none() {
        let found = open_first(&candidates())?;
        return Ok(LIBRARY.get_or_init(|| found));
    }
    LIBRARY.get().ok_or_else(|| failed("it is being opened"))
}

/// Where to look, in order. A variable that is set is the only place: a person who names a file means that file.
fn candidates() -> Vec<PathBuf> {
    if let Some(named) = std::env::var_os(VARIABLE).filter(|named| !named.is_empty()) {
        let named = PathBuf::from(named);
        return if named.is_dir() {
            libraries_in(&named)
        } else {
            vec![named]
        };
    }
    let mut found = own_folder()
        .map(|folder| libraries_in(&folder))
        .unwrap_or_default();
    found.extend(NAMES.iter().map(PathBuf::from)); // bare names: the dynamic linker searches its own path
    found
}

/// Files called libonnxruntime.so, libonnxruntime.so.1.31.1 and so on, the highest version first.
fn libraries_in(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut found: Vec<(Vec<u32>, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let rest = name.strip_prefix("libonnxruntime.")?;
            if !(rest.starts_with("so") || rest.ends_with("dylib")) {
                return None;
            }
            let version = rest
                .split('.')
                .filter_map(|part| part.parse().ok())
                .collect();
            Some((version, entry.path()))
        })
        .collect();
    found.sort();
    found.into_iter().rev().map(|(_, path)| path).collect()
}

#[repr(C)]
struct DlInfo {
    file: *const c_char,
    base: *mut c_void,
    symbol: *const c_char,
    address: *mut c_void,
}

extern "C" {
    fn dlopen(name: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
    fn dlclose(library: *mut c_void) -> c_int;
    fn dlerror() -> *const c_char;
    fn dladdr(address: *const c_void, info: *mut DlInfo) -> c_int;
}

/// `RTLD_NOW | RTLD_LOCAL`: the same numbers on Linux; local is the default of macOS too, spelled 4.
const NOW: c_int = 2;
#[cfg(target_os = "macos")]
const LOCAL: c_int = 4;
#[cfg(not(target_os = "macos"))]
const LOCAL: c_int = 0;

/// The folder of the file that this code was loaded from.
fn own_folder() -> Option<PathBuf> {
    let mut info = DlInfo {
        file: std::ptr::null(),
        base: null_mut(),
        symbol: std::ptr::null(),
        address: null_mut(),
    };
    // SAFETY: the address is that of a function of this library, and `info` outlives the call.
    let found = unsafe { dladdr(own_folder as *const c_void, &mut info) };
    if found == 0 || info.file.is_null() {
        return None;
    }
    // SAFETY: a string that the dynamic linker keeps for as long as this library is loaded.
    let file = unsafe { CStr::from_ptr(info.file) };
    Some(Path::new(file.to_str().ok()?).parent()?.to_path_buf())
}

fn open_first(candidates: &[PathBuf]) -> Result<Library> {
    let mut why = Vec::new();
    for candidate in candidates {
        match open(candidate) {
            Ok(library) => return Ok(library),
            Err(error) => why.push(error),
        }
    }
    Err(failed(format!(
        "this model has an operator that is not native and needs onnxruntime (1.{API_VERSION} or newer), which was not \
         found: name its file in ${VARIABLE}, or put it beside the extension ({})",
        why.join("; ")
    )))
}

fn open(path: &Path) -> std::result::Result<Library, String> {
    let shown = path.to_string_lossy().into_owned();
    let name = CString::new(shown.as_bytes()).map_err(|_| format!("{shown:?} is no path"))?;
    // SAFETY: a zero-terminated name; what the library's initialisers do is the trust that its place implies.
    let handle = unsafe { dlopen(name.as_ptr(), NOW | LOCAL) };
    if handle.is_null() {
        return Err(last_error().unwrap_or(shown));
    }
    enter(handle, &shown).inspect_err(|_| {
        // SAFETY: the handle is dlopen's own, and nothing taken from it is kept.
        unsafe { dlclose(handle) };
    })
}

fn last_error() -> Option<String> {
    // SAFETY: dlerror answers null or a string that lives until this thread's next dl call.
    unsafe {
        let text = dlerror();
        (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
    }
}

fn enter(handle: *mut c_void, shown: &str) -> std::result::Result<Library, String> {
    // SAFETY: an open library and a zero-terminated name.
    let symbol = unsafe { dlsym(handle, c"OrtGetApiBase".as_ptr()) };
    if symbol.is_null() {
        return Err(format!("{shown} is not onnxruntime"));
    }
    // SAFETY: a function of this name has had this type in every onnxruntime; it answers a static struct.
    let (api, version) = unsafe {
        let base =
            std::mem::transmute::<*mut c_void, unsafe extern "C" fn() -> *const ApiBase>(symbol)();
        let Some(base) = base.as_ref() else {
            return Err(format!("{shown} has no API"));
        };
        let version = CStr::from_ptr((base.get_version)())
            .to_string_lossy()
            .into_owned();
        ((base.get_api)(API_VERSION).as_ref(), version)
    };
    let api =
        api.ok_or_else(|| format!("{shown} is onnxruntime {version}, older than 1.{API_VERSION}"))?;
    let (mut env, mut memory) = (null_mut(), null_mut());
    // SAFETY: `api` has these slots in version 17; names are zero-terminated, out pointers live.
    unsafe {
        done(api, (api.create_env)(FATAL, c"sqlml".as_ptr(), &mut env))?;
        let rest = done(api, (api.disable_telemetry)(env))
            .and_then(|()| {
                done(
                    api,
                    (api.create_memory_info)(DEVICE_ALLOCATOR, DEFAULT_MEMORY, &mut memory),
                )
            })
            .and_then(|()| bound(api, env));
        if let Err(error) = rest {
            (api.release_env)(env);
            return Err(error);
        }
    }
    Ok(Library {
        api,
        env,
        memory,
        path: shown.to_owned(),
        version,
    })
}

/// What all of onnxruntime's sessions may hold together. A file of a kilobyte can ask for a tensor of any size, and
/// would get it: measured, all of a machine's memory for forty joins of a column with itself.
const MEMORY: usize = 4 << 30;

/// Makes the allocator that sessions of `env` use where `session::create` says so.
///
/// # Safety
/// `env` is an environment that `api` made.
unsafe fn bound(api: &Api, env: *mut Env) -> std::result::Result<(), String> {
    let (mut arena, mut config) = (null_mut(), null_mut());
    // SAFETY: the caller's promise; out pointers live, and both descriptions are copied before they are released.
    unsafe {
        done(
            api,
            (api.create_memory_info)(ARENA_ALLOCATOR, DEFAULT_MEMORY, &mut arena),
        )?;
        let made = done(
            api,
            (api.create_arena_config)(MEMORY, -1, -1, -1, &mut config),
        );
        let registered = made.and_then(|()| {
            let registered = done(api, (api.register_allocator)(env, arena, config));
            (api.release_arena_config)(config);
            registered
        });
        (api.release_memory_info)(arena);
        registered
    }
}

/// A query's error, so that it is seen whose words they are.
pub fn failed(why: impl std::fmt::Display) -> Error {
    Error::Failed(format!("onnxruntime: {why}"))
}

/// Onnxruntime's own message where a call failed; its status is released.
///
/// # Safety
/// `status` is what a function of `api` returned just now.
pub unsafe fn done(api: &Api, status: StatusPointer) -> std::result::Result<(), String> {
    if status.is_null() {
        return Ok(());
    }
    // SAFETY: a status that is not null carries a zero-terminated message until it is released, which is here.
    unsafe {
        let message = CStr::from_ptr((api.get_error_message)(status))
            .to_string_lossy()
            .into_owned();
        (api.release_status)(status);
        Err(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_library_is_named() {
        let Err(error) = open(Path::new("Cargo.toml")) else {
            panic!("opened Cargo.toml")
        };
        assert!(error.contains("Cargo.toml"), "{error}");
    }

    #[test]
    fn another_library_is_not_taken_for_onnxruntime() {
        let Err(error) = open(Path::new("libc.so.6")) else {
            panic!("opened libc")
        };
        assert!(error.contains("is not onnxruntime"), "{error}");
    }

    #[test]
    fn the_highest_version_of_a_folder_comes_first() {
        let folder = std::env::temp_dir().join(format!("sqlml-onnxruntime-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        for name in [
            "libonnxruntime.so",
            "libonnxruntime.so.1.9.0",
            "libonnxruntime.so.1.31.1",
            "libonnxruntime.txt",
        ] {
            std::fs::write(folder.join(name), "").expect("a file");
        }
        let names: Vec<String> = libraries_in(&folder)
            .iter()
            .map(|p| {
                p.file_name()
                    .expect("a name")
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        std::fs::remove_dir_all(&folder).expect("removed");
        assert_eq!(
            names,
            [
                "libonnxruntime.so.1.31.1",
                "libonnxruntime.so.1.9.0",
                "libonnxruntime.so"
            ]
        );
    }

    #[test]
    fn the_own_folder_is_where_the_test_program_lies() {
        let here = std::env::current_exe().expect("a program");
        assert_eq!(own_folder().as_deref(), here.parent());
    }
}
