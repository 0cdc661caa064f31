/* Tells the fuzzer what a run of instrumented code met: gcc has every block of it call in here
   (-fsanitize-coverage=trace-pc). A feature is an edge from block to block, together with how often
   it was taken: once, up to 3 times, 7, 15 and so on. */

#include <stdint.h>
#include <string.h>

enum { EDGES = 1 << 16, FREQUENCIES = 8 };

static uint8_t taken[EDGES];  /* in this run */
static uint8_t seen[EDGES];   /* in any: a bit for each frequency */
static uint32_t before;

void __sanitizer_cov_trace_pc(void) {
    uint32_t here = (uint32_t)((uintptr_t)__builtin_return_address(0) * 2654435761u) >> 8;
    uint8_t *edge = &taken[(here ^ before) % EDGES];
    before = here >> 1;
    if (*edge < UINT8_MAX) ++*edge;
}

void begin_run(void) {
    memset(taken, 0, sizeof taken);
    before = 0;
}

/* Writes all features of the run, numbers below EDGES * FREQUENCIES, into `features`, which has room
   for EDGES; sets `fresh` to how many of them no run had before. Returns how many there are. */
int end_run(uint32_t *features, int *fresh) {
    int count = 0;
    *fresh = 0;
    for (uint32_t eight = 0; eight < EDGES; eight += 8) {
        if (!memcmp(taken + eight, (uint8_t[8]){0}, 8)) continue;
        for (uint32_t edge = eight; edge < eight + 8; edge++) {
            if (!taken[edge]) continue;
            int frequency = 31 - __builtin_clz(taken[edge]);
            *fresh += !(seen[edge] >> frequency & 1);
            seen[edge] |= 1 << frequency;
            features[count++] = FREQUENCIES * edge + frequency;
        }
    }
    return count;
}
