/* Compilers call these by themselves, for arrays that begin with zeros. They are of shared libraries
 * alone: a program that links a static one has its own. */
#include <stddef.h>

void *memset(void *to, int value, size_t count)
{
    unsigned char *p = to;
    while (count--) *p++ = (unsigned char)value;
    return to;
}

void *memcpy(void *restrict to, const void *restrict of, size_t count)
{
    unsigned char *p = to;
    const unsigned char *q = of;
    while (count--) *p++ = *q++;
    return to;
}
