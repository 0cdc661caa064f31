/* Tells the fuzzer what ran that never ran before: the compiler calls in at every block. An edge
   counts by how often it is taken in one run: once, twice, up to 4, 8 … times. */

#include <stdint.h>
#include <string.h>

#define EDGES (1u << 16)

static uint8_t taken[EDGES], seen[EDGES];
static uint32_t before;

void __sanitizer_cov_trace_pc(void) {
    uint32_t here = (uint32_t)((uintptr_t)__builtin_return_address(0) * 2654435761u) >> 8;
    uint8_t *edge = &taken[(here ^ before) % EDGES];
    before = here >> 1;
    if (*edge < 255) ++*edge;
}

/* Ends a run; returns how many edges it took as often as none did before. */
int end_run(void) {
    int fresh = 0;
    for (uint32_t i = 0; i < EDGES; i += 8) {
        uint64_t eight;
        memcpy(&eight, taken + i, 8);
        if (!eight) continue;
        for (uint32_t j = i; j < i + 8; j++) {
            if (!taken[j]) continue;
            uint8_t bucket = 1u << (31 - __builtin_clz(taken[j]));
            fresh += !(seen[j] & bucket);
            seen[j] |= bucket;
        }
        memset(taken + i, 0, 8);
    }
    before = 0;
    return fresh;
}

/* Forgets what all runs took. */
void forget(void) {
    memset(taken, 0, sizeof taken);
    memset(seen, 0, sizeof seen);
}
