//! One body, compiled for every instruction set.

/// Defines `pub fn name(isa, ...)` whose body is compiled once for the base target and, on x86-64, once more with
/// AVX2 and once with AVX-512. Only instruction selection differs: Rust never contracts `a * b + c` into a fused
/// multiply-add, so every version gives the same bits (a test compares them).
macro_rules! for_each_isa {
    ($(#[$meta:meta])* $vis:vis fn $name:ident $(<$($generic:ident : $bound:path),+>)? ($($arg:ident : $ty:ty),* $(,)?) $body:block) => {
        $(#[$meta])*
        $vis fn $name $(<$($generic: $bound),+>)? (isa: $crate::isa::Isa, $($arg: $ty),*) {
            #[inline(always)]
            fn body $(<$($generic: $bound),+>)? ($($arg: $ty),*) $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn avx2 $(<$($generic: $bound),+>)? ($($arg: $ty),*) {
                    body($($arg),*)
                }
                #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
                fn avx512 $(<$($generic: $bound),+>)? ($($arg: $ty),*) {
                    body($($arg),*)
                }
                match isa {
                    // SAFETY: `Isa::Avx512` is only made after the processor was seen to have these features.
                    $crate::isa::Isa::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: `Isa::Avx2` is only made after the processor was seen to have AVX2.
                    $crate::isa::Isa::Avx2 => return unsafe { avx2($($arg),*) },
                    _ => {}
                }
            }
            let _ = isa;
            body($($arg),*)
        }
    };
}
pub(crate) use for_each_isa;
