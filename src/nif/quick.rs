//! NIFs for short calls, of which a good part, a fifth in the caches, is what rustler's attribute does
//! around them: it puts the arguments on the heap, and hands the answer on in memory four times.
#![expect(unsafe_code, reason = "what the VM hands to a NIF is raw; argued below")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use rustler::codegen_runtime::NifReturnable;
use rustler::sys::{ErlNifEnv, ErlNifTerm, enif_raise_exception};
use rustler::types::atom::nif_panicked;
use rustler::{Env, NifResult, Term};

/// Registers a function of an [`Env`] and that many terms as a NIF of its name, on normal schedulers.
macro_rules! quick_nif {
    ($function:ident / $arity:literal) => {
        rustler::codegen_runtime::inventory::submit!(rustler::Nif {
            name: concat!(stringify!($function), "\0").as_ptr().cast(),
            arity: $arity,
            flags: 0,
            raw_func: {
                #[expect(unsafe_code, reason = "only the VM can call it as it has to be called")]
                unsafe extern "C" fn raw(
                    env: *mut rustler::sys::ErlNifEnv,
                    _argc: std::ffi::c_int,
                    argv: *const rustler::sys::ErlNifTerm,
                ) -> rustler::sys::ErlNifTerm {
                    // SAFETY: the VM calls a NIF with the process's environment and as many terms of it
                    // as the arity says that the NIF was registered with.
                    unsafe { $crate::nif::quick::call::<$arity>(env, argv, $function) }
                }
                raw
            },
        });
    };
}
pub(super) use quick_nif;

/// Calls `function`. Errors are what rustler makes of them, for one a bad argument, and a panic is an
/// exception.
///
/// # Safety
/// `env` is the environment of the call that the VM makes now, and `argv` leads to `ARITY` terms of it.
#[inline(always)]
pub(super) unsafe fn call<const ARITY: usize>(
    env: *mut ErlNifEnv,
    argv: *const ErlNifTerm,
    function: impl for<'a> FnOnce(Env<'a>, [Term<'a>; ARITY]) -> NifResult<Term<'a>>,
) -> ErlNifTerm {
    let of_this_call = ();
    // SAFETY: the environment lasts until this function returns, and so does what its lifetime is
    // tied to; there is no other `Env` of that.
    let checked = unsafe { Env::new(&of_this_call, env) };
    // SAFETY: there are so many, of this environment, as the caller promises.
    let terms = unsafe {
        let raw = &*argv.cast::<[ErlNifTerm; ARITY]>();
        raw.map(|term| Term::new(checked, term))
    };
    match catch_unwind(AssertUnwindSafe(|| function(checked, terms).map(|term| term.as_c_arg()))) {
        Ok(Ok(answer)) => answer,
        // SAFETY: the environment is that of this call, and what comes of it is returned at once.
        Ok(Err(error)) => unsafe { error.into_returned(checked).apply(checked) },
        // SAFETY: the same; the reason is an atom, which is of every environment.
        Err(_) => unsafe { enif_raise_exception(env, nif_panicked().as_c_arg()) },
    }
}
