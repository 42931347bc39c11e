/* How kernels are written once and compiled for every size of block: functions whose sizes are arguments,
 * constants after inlining, and loops over them unrolled. */
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 64")
