//! The references by which Erlang knows indexes: resources of the VM, of a type of our own. Rustler
//! finds the types of its resources in a hash table, call by call, which is a tenth of a look-up in
//! the caches.
#![expect(unsafe_code, reason = "what the VM keeps for a resource is bare memory; argued below")]

use std::ffi::{c_int, c_void};
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use rustler::sys::{
    ErlNifEnv, ErlNifResourceFlags, ErlNifResourceType, enif_alloc_resource, enif_get_resource,
    enif_keep_resource, enif_make_resource, enif_open_resource_type, enif_release_resource,
};
use rustler::{Decoder, Encoder, Env, Error, NifResult, Term};

use super::IndexResource;

/// Set before any NIF can be called.
static TYPE: AtomicPtr<ErlNifResourceType> = AtomicPtr::new(ptr::null_mut());

/// The VM aligns a resource as it does the longest of C's plain types.
const _: () = assert!(align_of::<IndexResource>() <= align_of::<u64>());

/// Opens the type; for the VM, when it loads the library. True if that went well.
pub(super) fn register(env: Env<'_>, _load_info: Term<'_>) -> bool {
    let flags = ErlNifResourceFlags::ERL_NIF_RT_CREATE;
    // SAFETY: the environment is that of the library's loading, where types can be opened; the name
    // ends in a zero; nobody wants to be told what was tried.
    let opened = unsafe {
        let name = c"LsmIndex".as_ptr();
        enif_open_resource_type(
            env.as_c_arg(),
            ptr::null(),
            name,
            Some(destroy),
            flags,
            ptr::null_mut(),
        )
    };
    if !opened.is_null() {
        TYPE.store(opened.cast_mut(), Ordering::Release);
    }
    !opened.is_null()
}

/// Frees an index when its last reference is gone.
unsafe extern "C" fn destroy(_env: *mut ErlNifEnv, object: *mut c_void) {
    // SAFETY: the VM calls this once for each object of the type, and nobody has it any more;
    // `Held::new` wrote an index there.
    let free = || unsafe { ptr::drop_in_place(object.cast::<IndexResource>()) };
    // A panic must not get into the VM, and there is nobody to tell.
    let _ = catch_unwind(AssertUnwindSafe(free));
}

/// Where the VM has the index of a reference.
#[inline]
fn object(term: Term<'_>) -> NifResult<*const c_void> {
    let mut object = ptr::null();
    let env = term.get_env().as_c_arg();
    // SAFETY: the term is of that environment. The VM compares the type, and does not look into it.
    let found: c_int = unsafe {
        enif_get_resource(env, term.as_c_arg(), TYPE.load(Ordering::Acquire), &raw mut object)
    };
    if found == 0 { Err(Error::BadArg) } else { Ok(object) }
}

impl<'a> Decoder<'a> for &'a IndexResource {
    #[inline]
    fn decode(term: Term<'a>) -> NifResult<Self> {
        // SAFETY: objects of the type hold an index from `Held::new` on, and only share it. The term
        // keeps the object for as long as its environment lasts, to which `'a` is tied.
        object(term).map(|object| unsafe { &*object.cast() })
    }
}

/// An index that is held for longer than a call.
#[derive(Debug)]
pub(super) struct Held {
    /// One reference to the object is this one's.
    object: *const c_void,
}

// SAFETY: it is a counted reference to an index, which threads may share, and the VM's count is one
// that they may change.
unsafe impl Send for Held {}
// SAFETY: the same.
unsafe impl Sync for Held {}

/// What the claim above rests on.
const _: fn() = || {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<IndexResource>();
};

impl Held {
    pub(super) fn new(index: IndexResource) -> Self {
        // SAFETY: the type was opened when the library was loaded. The VM gives memory of that size,
        // aligned well enough (asserted above), with one reference that is now ours; or it ends.
        unsafe {
            let kind = TYPE.load(Ordering::Acquire);
            let object = enif_alloc_resource(kind, size_of::<IndexResource>());
            object.cast::<IndexResource>().write(index);
            Self { object }
        }
    }
}

impl Deref for Held {
    type Target = IndexResource;

    fn deref(&self) -> &IndexResource {
        // SAFETY: as for the decoder; the reference that is ours keeps the object.
        unsafe { &*self.object.cast() }
    }
}

impl Clone for Held {
    fn clone(&self) -> Self {
        // SAFETY: the object is there, as we have a reference to it.
        unsafe { enif_keep_resource(self.object) };
        Self { object: self.object }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // SAFETY: the reference is ours, and is not used any more.
        unsafe { enif_release_resource(self.object) };
    }
}

impl<'a> Decoder<'a> for Held {
    fn decode(term: Term<'a>) -> NifResult<Self> {
        let object = object(term)?;
        // SAFETY: the object is there, as the term has a reference to it.
        unsafe { enif_keep_resource(object) };
        Ok(Self { object })
    }
}

impl Encoder for Held {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        // SAFETY: the object is there, as we have a reference to it; the VM counts the term's.
        unsafe { Term::new(env, enif_make_resource(env.as_c_arg(), self.object)) }
    }
}
