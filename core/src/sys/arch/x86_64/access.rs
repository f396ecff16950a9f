//! x86_64: the leaves that touch memory which may not be there.
//!
//! Each is a few instructions with entries in the fixup table. A leaf has no frame and calls nothing, so
//! its landing is in itself, with every register as it was but three: rax the address, rdx the code (never
//! 0) and r11 the program counter of the fault (`crate::fault::words`).
//!
//! How many bytes were done is exact. String instructions keep count in rcx, rsi and rdi, which are
//! precise when they fault (Intel SDM volume 1, 7.3.9.3). A store that crosses into a page where it may not go
//! writes nothing (it is checked before it retires); the wide loops then go on byte by byte from where
//! they are, and the byte that faults is the one that is reported. Where they are is exact after each store,
//! also when pages come and go meanwhile, so that what was written can no longer be written again.
//!
//! # Safety
//! The callers in `crate::fault::access` say what must hold of the memory; that it can be accessed need
//! not. Without sigplane's handlers in the kernel a fault in here takes the default action.
#![allow(unsafe_code)]

use crate::fault::words::Words;
use crate::fixup;
use core::arch::{asm, global_asm};
use core::sync::atomic::AtomicU8;

/// Begins and ends a function of this file.
macro_rules! leaf {
    ($name:literal, $($line:expr),+ $(,)? $(; $operand:ident = sym $symbol:path)?) => {
        global_asm!(
            concat!(".pushsection .text.", $name, ",\"ax\",@progbits"),
            concat!(".hidden ", $name),
            concat!(".globl ", $name),
            concat!(".type ", $name, ",@function"),
            ".p2align 5",
            concat!($name, ":"),
            ".cfi_startproc",
            $($line),+,
            ".cfi_endproc",
            concat!(".size ", $name, ", . - ", $name),
            ".popsection",
            $($operand = sym $symbol,)?
        );
    };
}

// sigplane0_copy(to rdi, from rsi, length rdx, words rcx) -> rax: bytes not done. Forward.
//
// From 256 bytes on, with AVX, a first vector and a last one that may overlap the aligned ones between.
// Bytes are then written twice, with the same value: where the source begins less than 128 bytes behind the
// destination it would have changed in between, so that is left to the loop of 64. `rep movsb` is no faster,
// and takes a cycle or more for each byte where the destination is less than 64 bytes behind the source,
// modulo 4,096 (measured on AMD); it only does the rest after a fault.
leaf!(
    "sigplane0_copy",
    "mov r8, rcx",
    "mov rcx, rdx",
    "cmp rcx, 16",
    "jb 50f",
    "cmp rcx, 256",
    "jae 80f",
    "cmp rcx, 64",
    "jb 40f",
    "20: movdqu xmm0, [rsi]",
    "movdqu xmm1, [rsi + 16]",
    "movdqu xmm2, [rsi + 32]",
    "movdqu xmm3, [rsi + 48]",
    "21: movdqu [rdi], xmm0",
    "add rsi, 16",
    "add rdi, 16",
    "sub rcx, 16",
    "22: movdqu [rdi], xmm1",
    "add rsi, 16",
    "add rdi, 16",
    "sub rcx, 16",
    "23: movdqu [rdi], xmm2",
    "add rsi, 16",
    "add rdi, 16",
    "sub rcx, 16",
    "24: movdqu [rdi], xmm3",
    "add rsi, 16",
    "add rdi, 16",
    "sub rcx, 16",
    "cmp rcx, 64",
    "jae 20b",
    "cmp rcx, 16",
    "jb 50f",
    "40: movdqu xmm0, [rsi]",
    "41: movdqu [rdi], xmm0",
    "add rsi, 16",
    "add rdi, 16",
    "sub rcx, 16",
    "cmp rcx, 16",
    "jae 40b",
    "50: test cl, 8",
    "jz 52f",
    "51: mov rax, [rsi]",
    "510: mov [rdi], rax",
    "add rsi, 8",
    "add rdi, 8",
    "sub rcx, 8",
    "52: test cl, 4",
    "jz 54f",
    "53: mov eax, [rsi]",
    "530: mov [rdi], eax",
    "add rsi, 4",
    "add rdi, 4",
    "sub rcx, 4",
    "54: test ecx, ecx",
    "jz 59f",
    // Fewer than four bytes, or what is left after a fault in something wider.
    "55: movzx eax, byte ptr [rsi]",
    "56: mov [rdi], al",
    "inc rsi",
    "inc rdi",
    "dec rcx",
    "jnz 55b",
    "59: xor eax, eax",
    "ret",
    // Long ones. The state of `AVX`: 2 there, 1 not there, 0 not known yet.
    "80: mov rax, rsi",
    "sub rax, rdi",
    "cmp rax, 128",
    "jb 20b",
    "cmp byte ptr [rip + {avx}], 1",
    "je 20b",
    "jb 90f",
    "81: vmovdqu ymm0, [rsi]",
    "vmovdqu [rdi], ymm0",
    "82: lea r10, [rcx - 32]",
    // Up to the next multiple of 32.
    "mov rax, rdi",
    "neg rax",
    "and eax, 31",
    "add rdi, rax",
    "add rsi, rax",
    "sub rcx, rax",
    ".p2align 5",
    "83: vmovdqu ymm0, [rsi]",
    "vmovdqu ymm1, [rsi + 32]",
    "vmovdqu ymm2, [rsi + 64]",
    "vmovdqu ymm3, [rsi + 96]",
    "vmovdqa [rdi], ymm0",
    "831: vmovdqa [rdi + 32], ymm1",
    "832: vmovdqa [rdi + 64], ymm2",
    "833: vmovdqa [rdi + 96], ymm3",
    "84: sub rsi, -128",
    "sub rdi, -128",
    "add rcx, -128",
    "cmp rcx, 128",
    "ja 83b",
    // Up to 128 bytes are left.
    "85: vmovdqu ymm0, [rsi + rcx - 128]",
    "vmovdqu ymm1, [rsi + rcx - 96]",
    "vmovdqu ymm2, [rsi + rcx - 64]",
    "vmovdqu ymm3, [rsi + rcx - 32]",
    "vmovdqu [rdi + rcx - 128], ymm0",
    "851: vmovdqu [rdi + rcx - 96], ymm1",
    "852: vmovdqu [rdi + rcx - 64], ymm2",
    "853: vmovdqu [rdi + rcx - 32], ymm3",
    "86: vzeroupper",
    "xor eax, eax",
    "ret",
    // After a fault: how many bytes the stores before it have left, of all that are written.
    "870: mov rax, rcx",
    "jmp 880f",
    "871: lea rax, [rcx - 32]",
    "jmp 880f",
    "872: lea rax, [rcx - 64]",
    "jmp 880f",
    "873: lea rax, [rcx - 96]",
    "jmp 880f",
    "874: mov eax, 96",
    "jmp 880f",
    "875: mov eax, 64",
    "jmp 880f",
    "876: mov eax, 32",
    "880: cmp rax, r10",
    "cmova rax, r10",
    "cmp rax, rcx",
    "cmova rax, rcx",
    // To there, even if it could not be done again by now; and the rest from there.
    "sub rcx, rax",
    "add rsi, rcx",
    "add rdi, rcx",
    "mov rcx, rax",
    "60: vzeroupper",
    "61: rep movsb",
    "610: xor eax, eax",
    "ret",
    // What the processor (CPUID) and the kernel (XCR0) offer (Intel SDM volume 1, 14.3).
    "90: mov r9, rbx",
    "mov r10, rcx",
    "mov eax, 1",
    "xor ecx, ecx",
    "cpuid",
    "mov rbx, r9",
    "mov r9d, 1",
    "not ecx",
    "test ecx, 0x18000000",
    "jnz 91f",
    "xor ecx, ecx",
    "xgetbv",
    "not eax",
    "test al, 6",
    "jnz 91f",
    "mov r9d, 2",
    "91: mov byte ptr [rip + {avx}], r9b",
    "mov rcx, r10",
    "jmp 80b",
    "70: mov [r8], rax",
    "mov [r8 + 8], rdx",
    "mov [r8 + 16], r11",
    "mov rax, rcx",
    "ret",
    fixup!("20b", "50b", "55b"),
    fixup!("51b", "52b", "55b"),
    fixup!("53b", "54b", "55b"),
    fixup!("55b", "59b", "70b"),
    fixup!("81b", "82b", "60b"),
    fixup!("83b", "831b", "870b"),
    fixup!("831b", "832b", "871b"),
    fixup!("832b", "833b", "872b"),
    fixup!("833b", "84b", "873b"),
    fixup!("85b", "851b", "870b"),
    fixup!("851b", "852b", "874b"),
    fixup!("852b", "853b", "875b"),
    fixup!("853b", "86b", "876b"),
    fixup!("61b", "610b", "70b");
    avx = sym AVX
);

/// Whether there are AVX registers: 0 until somebody wants to know, then 1 for no and 2 for yes.
static AVX: AtomicU8 = AtomicU8::new(0);

// sigplane0_copy_down(to rdi, from rsi, length rdx, words rcx) -> rax: bytes not done. From the end to
// the beginning, for a destination that overlaps the source from above.
leaf!(
    "sigplane0_copy_down",
    "mov r8, rcx",
    "mov rcx, rdx",
    "cmp rcx, 16",
    "jb 30f",
    "20: movdqu xmm0, [rsi + rcx - 16]",
    "21: movdqu [rdi + rcx - 16], xmm0",
    "sub rcx, 16",
    "cmp rcx, 16",
    "jae 20b",
    "30: test rcx, rcx",
    "jz 39f",
    "31: movzx eax, byte ptr [rsi + rcx - 1]",
    "32: mov [rdi + rcx - 1], al",
    "33: dec rcx",
    "jnz 31b",
    "39: xor eax, eax",
    "ret",
    "70: mov [r8], rax",
    "mov [r8 + 8], rdx",
    "mov [r8 + 16], r11",
    "mov rax, rcx",
    "ret",
    fixup!("20b", "30b", "31b"),
    fixup!("31b", "33b", "70b"),
);

// sigplane0_fill(to rdi, byte esi, length rdx, words rcx) -> rax: bytes not done.
leaf!(
    "sigplane0_fill",
    "mov r8, rcx",
    "mov rcx, rdx",
    "movzx eax, sil",
    "cmp rcx, 512",
    "jae 40f",
    "mov r9, 0x0101010101010101",
    "imul r9, rax",
    "cmp rcx, 8",
    "jb 30f",
    "20: mov [rdi], r9",
    "add rdi, 8",
    "sub rcx, 8",
    "cmp rcx, 8",
    "jae 20b",
    "30: test rcx, rcx",
    "jz 39f",
    "31: mov [rdi], r9b",
    "32: inc rdi",
    "dec rcx",
    "jnz 31b",
    "39: xor eax, eax",
    "ret",
    "40: rep stosb",
    "41: xor eax, eax",
    "ret",
    "70: mov [r8], rax",
    "mov [r8 + 8], rdx",
    "mov [r8 + 16], r11",
    "mov rax, rcx",
    "ret",
    fixup!("20b", "30b", "31b"),
    fixup!("31b", "32b", "70b"),
    fixup!("40b", "41b", "70b"),
);

// sigplane0_length(string rdi, limit rsi, words rdx) -> rax: bytes before the first zero, `limit` if
// there is none among them; after a fault, bytes before it, and the code in words. Reads aligned blocks of
// 16, which lie in one page.
leaf!(
    "sigplane0_length",
    "mov r8, rdx",
    "mov r9, rdi",
    "lea r10, [rdi + rsi]",
    "pxor xmm0, xmm0",
    "cmp rsi, 0",
    "je 60f",
    // The limit may reach beyond the end of the address space.
    "cmp r10, rdi",
    "jae 10f",
    "mov r10, -1",
    "10: mov rcx, rdi",
    "and ecx, 15",
    "jz 20f",
    "and rdi, -16",
    "11: movdqa xmm1, [rdi]",
    "12: pcmpeqb xmm1, xmm0",
    "pmovmskb eax, xmm1",
    "shr eax, cl",
    "add rdi, rcx",
    "test eax, eax",
    "jnz 30f",
    "sub rdi, rcx",
    "add rdi, 16",
    "20: cmp rdi, r10",
    "jae 60f",
    "21: movdqa xmm1, [rdi]",
    "22: pcmpeqb xmm1, xmm0",
    "pmovmskb eax, xmm1",
    "test eax, eax",
    "jnz 30f",
    "add rdi, 16",
    "jnz 20b",
    "jmp 60f",
    "30: bsf eax, eax",
    "add rax, rdi",
    "sub rax, r9",
    "cmp rax, rsi",
    "cmova rax, rsi",
    "ret",
    "60: mov rax, rsi",
    "ret",
    // The first block may begin before the string: it is the string that cannot be read.
    "70: cmp rax, r9",
    "cmovb rax, r9",
    "mov [r8], rax",
    "mov [r8 + 8], rdx",
    "mov [r8 + 16], r11",
    "xor eax, eax",
    "sub rdi, r9",
    "cmovae rax, rdi",
    "ret",
    fixup!("11b", "12b", "70b"),
    fixup!("21b", "22b", "70b"),
);

unsafe extern "C" {
    fn sigplane0_copy(to: usize, from: usize, length: usize, words: *mut Words) -> usize;
    fn sigplane0_copy_down(to: usize, from: usize, length: usize, words: *mut Words) -> usize;
    fn sigplane0_fill(to: usize, byte: u32, length: usize, words: *mut Words) -> usize;
    fn sigplane0_length(string: usize, limit: usize, words: *mut Words) -> usize;
}

/// Copies upwards, or downwards from the end; how many bytes were not copied.
///
/// # Safety
/// What can be written of `to` may be.
#[inline(always)]
pub(crate) unsafe fn copy(
    to: usize,
    from: usize,
    length: usize,
    down: bool,
    words: &mut Words,
) -> usize {
    if down {
        // SAFETY: the caller's promise.
        unsafe { sigplane0_copy_down(to, from, length, words) }
    } else {
        // SAFETY: the caller's promise.
        unsafe { sigplane0_copy(to, from, length, words) }
    }
}

/// How many bytes from `from` on could be copied into `to`.
pub(crate) fn copy_in(from: usize, to: &mut [u8]) -> usize {
    let mut words = Words::default();
    // SAFETY: `to` may be written.
    let left =
        unsafe { copy(to.as_mut_ptr().expose_provenance(), from, to.len(), false, &mut words) };
    to.len() - left
}

/// Fills with one byte; how many bytes were not written.
///
/// # Safety
/// What can be written of `to` may be.
#[inline(always)]
pub(crate) unsafe fn fill(to: usize, byte: u8, length: usize, words: &mut Words) -> usize {
    // SAFETY: the caller's promise.
    unsafe { sigplane0_fill(to, byte.into(), length, words) }
}

/// Bytes before the first zero, at most `limit`, or before the fault that `words` then has.
#[inline(always)]
pub(crate) fn length(string: usize, limit: usize, words: &mut Words) -> usize {
    // SAFETY: only reads.
    unsafe { sigplane0_length(string, limit, words) }
}

/// One access with one instruction, in place. `$size` names the operand's width.
macro_rules! one {
    ($instruction:literal, $words:ident, $at:ident, $($operand:tt)*) => {{
        let (code, address, pc): (u64, usize, usize);
        // SAFETY: the caller's promise; a fault lands behind the instruction with the three registers set.
        unsafe {
            asm!(
                "2:",
                $instruction,
                "3:",
                fixup!("2b", "3b", "3b"),
                at = in(reg) $at,
                inout("rdx") 0u64 => code,
                out("rax") address,
                out("r11") pc,
                $($operand)*
            )
        };
        if code != 0 {
            *$words = Words { address, code, pc };
        }
        code == 0
    }};
}

macro_rules! scalar {
    ($read:ident, $write:ident, $type:ty, $class:ident, $load:literal, $store:literal) => {
        /// Reads one; meaningless when it returns false, with the fault in `words`.
        #[inline(always)]
        pub(crate) fn $read(at: usize, value: &mut $type, words: &mut Words) -> bool {
            let read;
            let done = one!($load, words, at, v = out($class) read, options(nostack, readonly));
            *value = read;
            done
        }

        /// Writes one; false after a fault.
        ///
        /// # Safety
        /// If `at` can be written, it may be.
        #[inline(always)]
        pub(crate) unsafe fn $write(at: usize, value: $type, words: &mut Words) -> bool {
            one!($store, words, at, v = in($class) value, options(nostack))
        }
    };
}

scalar!(read_1, write_1, u8, reg_byte, "mov {v}, byte ptr [{at}]", "mov byte ptr [{at}], {v}");
scalar!(read_2, write_2, u16, reg, "mov {v:x}, word ptr [{at}]", "mov word ptr [{at}], {v:x}");
scalar!(read_4, write_4, u32, reg, "mov {v:e}, dword ptr [{at}]", "mov dword ptr [{at}], {v:e}");
scalar!(read_8, write_8, u64, reg, "mov {v}, qword ptr [{at}]", "mov qword ptr [{at}], {v}");
scalar!(
    read_16,
    write_16,
    core::arch::x86_64::__m128i,
    xmm_reg,
    "movdqu {v}, xmmword ptr [{at}]",
    "movdqu xmmword ptr [{at}], {v}"
);

macro_rules! exchange {
    ($swap:ident, $compare:ident, $type:ty, $class:ident, $xchg:literal, $cmpxchg:literal, $a:literal) => {
        /// Stores `value` with a full barrier.
        ///
        /// # Safety
        /// If `at` can be written, it may be.
        #[inline(always)]
        pub(crate) unsafe fn $swap(at: usize, value: $type, words: &mut Words) -> bool {
            one!($xchg, words, at, v = inout($class) value => _, options(nostack))
        }

        /// Stores `new` if `*seen` is there; otherwise `*seen` becomes what is. False after a fault.
        ///
        /// # Safety
        /// If `at` can be written, it may be.
        #[inline(always)]
        pub(crate) unsafe fn $compare(
            at: usize,
            seen: &mut $type,
            new: $type,
            words: &mut Words,
        ) -> bool {
            let (code, rax, pc): (u64, usize, usize);
            // SAFETY: the caller's promise; as in `one`, with rax also the operand of the instruction.
            unsafe {
                asm!(
                    "2:",
                    $cmpxchg,
                    "3:",
                    fixup!("2b", "3b", "3b"),
                    at = in(reg) at,
                    v = in($class) new,
                    inout("rdx") 0u64 => code,
                    inout("rax") *seen as usize => rax,
                    out("r11") pc,
                    options(nostack)
                )
            };
            if code != 0 {
                *words = Words { address: rax, code, pc };
            } else {
                *seen = rax as $type;
            }
            code == 0
        }
    };
}

exchange!(
    swap_1,
    compare_1,
    u8,
    reg_byte,
    "xchg byte ptr [{at}], {v}",
    "lock cmpxchg byte ptr [{at}], {v}",
    "al"
);
exchange!(
    swap_2,
    compare_2,
    u16,
    reg,
    "xchg word ptr [{at}], {v:x}",
    "lock cmpxchg word ptr [{at}], {v:x}",
    "ax"
);
exchange!(
    swap_4,
    compare_4,
    u32,
    reg,
    "xchg dword ptr [{at}], {v:e}",
    "lock cmpxchg dword ptr [{at}], {v:e}",
    "eax"
);
exchange!(
    swap_8,
    compare_8,
    u64,
    reg,
    "xchg qword ptr [{at}], {v}",
    "lock cmpxchg qword ptr [{at}], {v}",
    "rax"
);
