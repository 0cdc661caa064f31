/* Where instrumented code has been: gcc calls this at every branch (-fsanitize-coverage=trace-pc). */

#include <stdint.h>
#include <string.h>

enum { PLACES = 1 << 16 };

uint8_t coverage[PLACES];
static uint8_t reached[PLACES];

void __sanitizer_cov_trace_pc(void) {
    uintptr_t place = (uintptr_t)__builtin_return_address(0);
    coverage[(place ^ place >> 16) % PLACES] = 1;
}

/* Tell how many places were met that never were before. */
int new_places(void) {
    int count = 0;
    for (int i = 0; i < PLACES; i++) {
        count += coverage[i] & ~reached[i];
        reached[i] |= coverage[i];
    }
    return count;
}

void forget_coverage(void) {
    memset(coverage, 0, PLACES);
}
