/* Comparison of memory for the image's static binary. The C library that it is linked with compares a byte at a time;
   every comparison of keys and names is such a call. Linked in front of the library by image/build.py, so that the
   linker takes these instead of the library's. Plain C: the compiler turns the 32 bytes of a step into vectors. */

#include <stddef.h>
#include <stdint.h>

static inline uint64_t eight(const unsigned char *at)
{
    uint64_t value;
    __builtin_memcpy(&value, at, sizeof value);
    return value;
}

static inline uint32_t four(const unsigned char *at)
{
    uint32_t value;
    __builtin_memcpy(&value, at, sizeof value);
    return value;
}

/* The sign of the first difference: both targets are little-endian, so the first byte has to become the highest. */
static inline int order_of_eight(uint64_t one, uint64_t other)
{
    one = __builtin_bswap64(one);
    other = __builtin_bswap64(other);
    return (one > other) - (one < other);
}

static inline int order_of_four(uint32_t one, uint32_t other)
{
    one = __builtin_bswap32(one);
    other = __builtin_bswap32(other);
    return (one > other) - (one < other);
}

/* Up to sixteen bytes: two reads that may overlap. */
static inline int short_order(const unsigned char *a, const unsigned char *b, size_t bytes)
{
    if (bytes >= 8) {
        uint64_t one = eight(a), other = eight(b);
        if (one != other)
            return order_of_eight(one, other);
        return order_of_eight(eight(a + bytes - 8), eight(b + bytes - 8));
    }
    if (bytes >= 4) {
        uint32_t one = four(a), other = four(b);
        if (one != other)
            return order_of_four(one, other);
        return order_of_four(four(a + bytes - 4), four(b + bytes - 4));
    }
    for (size_t at = 0; at < bytes; at++) {
        if (a[at] != b[at])
            return (int)a[at] - (int)b[at];
    }
    return 0;
}

int memcmp(const void *left, const void *right, size_t bytes)
{
    const unsigned char *a = left, *b = right;
    if (bytes <= 16)
        return short_order(a, b, bytes);
    while (bytes >= 32) {
        uint64_t front = (eight(a) ^ eight(b)) | (eight(a + 8) ^ eight(b + 8));
        uint64_t back = (eight(a + 16) ^ eight(b + 16)) | (eight(a + 24) ^ eight(b + 24));
        if ((front | back) != 0)
            break;
        a += 32;
        b += 32;
        bytes -= 32;
    }
    /* At most four steps: the difference is among them, or fewer than 32 bytes are left. */
    while (bytes > 16) {
        uint64_t one = eight(a), other = eight(b);
        if (one != other)
            return order_of_eight(one, other);
        a += 8;
        b += 8;
        bytes -= 8;
    }
    return short_order(a, b, bytes);
}

/* What compilers call where only equality is asked. */
int bcmp(const void *left, const void *right, size_t bytes)
{
    return memcmp(left, right, bytes);
}
