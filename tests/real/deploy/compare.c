/* Compares image/memory.c with the definition, byte by byte: every length up to 200, every offset within a word, every place
   of a first difference, with and without another one behind it, and what lies behind the end always different. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int defined(const unsigned char *a, const unsigned char *b, size_t bytes)
{
    for (size_t at = 0; at < bytes; at++) {
        if (a[at] != b[at])
            return a[at] < b[at] ? -1 : 1;
    }
    return 0;
}

static int sign(int value)
{
    return (value > 0) - (value < 0);
}

int main(void)
{
    static unsigned char a[256], b[256];
    long cases = 0;
    srand(7);
    for (size_t length = 0; length <= 200; length++) {
        for (size_t offset = 0; offset < 9; offset++) {
            for (size_t place = 0; place <= length; place++) {
                for (size_t at = 0; at < sizeof a; at++)
                    a[at] = b[at] = (unsigned char)rand();
                if (place < length)
                    b[offset + place] ^= (unsigned char)(1 + rand() % 255);
                if (place + 1 < length && rand() % 2)
                    b[offset + place + 1 + rand() % (length - place - 1)] ^= 0x80;
                for (size_t at = offset + length; at < sizeof a; at++)
                    b[at] = (unsigned char)~a[at];
                volatile size_t asked = length;
                int wanted = defined(a + offset, b + offset, length);
                int order = memcmp(a + offset, b + offset, asked), equal = bcmp(a + offset, b + offset, asked);
                if (sign(order) != wanted || (equal == 0) != (wanted == 0)) {
                    printf("length %zu, offset %zu, difference at %zu: %d where %d is right\n", length, offset, place, order, wanted);
                    return 1;
                }
                cases++;
            }
        }
    }
    printf("%ld cases\n", cases);
    return 0;
}
