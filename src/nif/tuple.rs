//! Tuples: the VM tells how long one is without a copy of its elements, rustler does not.
#![expect(unsafe_code, reason = "the VM shows the elements of a tuple where they lie")]

use std::ptr;

use rustler::Term;
use rustler::sys::enif_get_tuple;

/// The elements of a tuple of no more than `most`; none of any other term.
pub(super) fn elements(term: Term<'_>, most: usize) -> Option<Vec<Term<'_>>> {
    let env = term.get_env();
    let (mut arity, mut raw) = (0, ptr::null());
    // SAFETY: the term is of the environment, and both places are there to be written to.
    let is_tuple =
        unsafe { enif_get_tuple(env.as_c_arg(), term.as_c_arg(), &raw mut arity, &raw mut raw) };
    let arity = usize::try_from(arity).ok().filter(|&arity| is_tuple == 1 && arity <= most)?;
    // SAFETY: the VM has written where the tuple's elements are, `arity` terms of the environment,
    // which lie there unchanged for as long as that lasts; there is an address also of none.
    let elements = (0..arity).map(|at| unsafe { Term::new(env, *raw.add(at)) });
    Some(elements.collect())
}
