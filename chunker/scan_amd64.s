#include "textflag.h"

// A nibble's mask in every byte, and halfMul in every word.
DATA nibbles<>+0(SB)/8, $0x0f0f0f0f0f0f0f0f
DATA nibbles<>+8(SB)/8, $0x0f0f0f0f0f0f0f0f
DATA nibbles<>+16(SB)/8, $0x0f0f0f0f0f0f0f0f
DATA nibbles<>+24(SB)/8, $0x0f0f0f0f0f0f0f0f
GLOBL nibbles<>(SB), RODATA|NOPTR, $32

DATA factor<>+0(SB)/8, $0x9e379e379e379e37
DATA factor<>+8(SB)/8, $0x9e379e379e379e37
DATA factor<>+16(SB)/8, $0x9e379e379e379e37
DATA factor<>+24(SB)/8, $0x9e379e379e379e37
GLOBL factor<>(SB), RODATA|NOPTR, $32

// A block is 64 bytes. Its values of 16 bits, one for each byte, are in four
// registers. The low halves hold the first 32 in order, the high halves the
// last 32, so that what is s places back is nearly always in the same half of
// the same or the next lower register:
//
//	      low half   high half
//	Y0     0 …  7     32 … 39
//	Y1     8 … 15     40 … 47
//	Y2    16 … 23     48 … 55
//	Y3    24 … 31     56 … 63
//
// Only what is before Y0 has to be brought from elsewhere: for the high half
// from the low half of Y3, for the low half from the high half of the Y3 of the
// block before. Y6 to Y9 keep that, for each step one, and Y10 and Y11 keep
// 0x9e37*H of Y2 and Y3.
//
// Y12 to Y15 hold the tables of G: of the low nibble the low and the high
// bytes, then of the high nibble. Y4 and Y5 are for intermediate values.

// LOOKUP sets two registers to G of 16 bytes for each half.
#define LOOKUP(low, high, XA, YA, YB) \
	VMOVDQU     low, XA; \
	VINSERTI128 $1, high, YA, YA; \
	VPSRLW      $4, YA, YB; \
	VPAND       nibbles<>(SB), YA, YA; \
	VPAND       nibbles<>(SB), YB, YB; \
	VPSHUFB     YA, Y12, Y4; \
	VPSHUFB     YB, Y14, Y5; \
	VPSHUFB     YA, Y13, YA; \
	VPSHUFB     YB, Y15, YB; \
	VPXOR       Y4, Y5, Y4; \
	VPXOR       YA, YB, YA; \
	VPUNPCKHBW  YA, Y4, YB; \
	VPUNPCKLBW  YA, Y4, YA

// BEFORE sets Y4 to the places before those of Y, and keeps Y for the next
// block.
#define BEFORE(Y, kept) \
	VPERM2I128 $0x21, Y, kept, Y4; \
	VMOVDQA    Y, kept

// SHIFT adds to Y what is s places back, shifted left by s, where previous
// holds the eight places before Y, and bytes is 16-2*s.
#define SHIFT(s, bytes, previous, Y) \
	VPALIGNR $bytes, previous, Y, Y5; \
	VPSLLW   $s, Y5, Y5; \
	VPADDW   Y5, Y, Y

// DOUBLE makes sums of 2*s terms from sums of s.
#define DOUBLE(s, bytes, kept) \
	BEFORE(Y3, kept); \
	SHIFT(s, bytes, Y2, Y3); \
	SHIFT(s, bytes, Y1, Y2); \
	SHIFT(s, bytes, Y0, Y1); \
	SHIFT(s, bytes, Y4, Y0)

// SHIFT8 is SHIFT for what is a whole register back.
#define SHIFT8(previous, Y) \
	VPSLLW $8, previous, Y5; \
	VPADDW Y5, Y, Y

// MULTIPLY adds 0x9e37*H of 16 places back, two registers, to YA and YB.
#define MULTIPLY(YA, YB, kept) \
	VPMULLW    factor<>(SB), YB, Y5; \
	BEFORE(Y5, kept); \
	VPMULLW    factor<>(SB), YA, Y5; \
	VPADDW     Y4, YA, YA; \
	VPADDW     Y5, YB, YB

// HASH sets Y0 to Y3 to C of the places behind 32 bytes from low and 32 from high.
#define HASH(low, low16, high, high16) \
	LOOKUP(low, high, X0, Y0, Y1); \
	LOOKUP(low16, high16, X2, Y2, Y3); \
	DOUBLE(1, 14, Y6); \
	DOUBLE(2, 12, Y7); \
	DOUBLE(4, 8, Y8); \
	BEFORE(Y3, Y9); \
	SHIFT8(Y2, Y3); \
	SHIFT8(Y1, Y2); \
	SHIFT8(Y0, Y1); \
	SHIFT8(Y4, Y0); \
	MULTIPLY(Y0, Y2, Y10); \
	MULTIPLY(Y1, Y3, Y11)

// PASS sets the words of Y that are at most the limit to all ones, the others to
// zero.
#define PASS(Y) \
	VPMINUW  limit-32(SP), Y, Y5; \
	VPCMPEQW Y5, Y, Y

// func scanBlocks(p *byte, blocks int, most uint16) (i int, hits uint64)
TEXT ·scanBlocks(SB), NOSPLIT, $32-40
	MOVQ           p+0(FP), SI
	MOVQ           blocks+8(FP), CX
	VPBROADCASTW   most+16(FP), Y4
	VMOVDQU        Y4, limit-32(SP)
	VBROADCASTI128 ·nibbleTables+0(SB), Y12
	VBROADCASTI128 ·nibbleTables+16(SB), Y13
	VBROADCASTI128 ·nibbleTables+32(SB), Y14
	VBROADCASTI128 ·nibbleTables+48(SB), Y15

	// What is kept for the first block are the high halves, of the 32 bytes
	// before it. The last 16 hashes of H are right, and no others are used.
	HASH((SI), 16(SI), (SI), 16(SI))
	ADDQ $32, SI // to the low half of a block
	XORL AX, AX  // the block
	XORL BX, BX

	PCALIGN $32

loop:
	CMPQ AX, CX
	JGE  done
	HASH((SI), 16(SI), 32(SI), 48(SI))
	VPMINUW   Y0, Y1, Y4
	VPMINUW   Y2, Y3, Y5
	VPMINUW   Y4, Y5, Y4
	PASS(Y4)                           // has any of the 64 places passed?
	ADDQ      $64, SI
	INCQ      AX
	VPMOVMSKB Y4, DX
	TESTL     DX, DX
	JZ        loop

	DECQ       AX
	PASS(Y0)
	PASS(Y1)
	PASS(Y2)
	PASS(Y3)
	VPACKSSWB  Y1, Y0, Y0          // a byte a place: 0 … 15 and 32 … 47
	VPACKSSWB  Y3, Y2, Y2          // 16 … 31 and 48 … 63
	VPERM2I128 $0x20, Y2, Y0, Y4   // 0 … 31
	VPERM2I128 $0x31, Y2, Y0, Y5   // 32 … 63
	VPMOVMSKB  Y4, BX
	VPMOVMSKB  Y5, DX
	SHLQ       $32, DX
	ORQ        DX, BX

done:
	VZEROUPPER
	MOVQ AX, i+24(FP)
	MOVQ BX, hits+32(FP)
	RET
