/* What a core can do at most: sums of products in registers, as many chains as hide the latency of a
 * product, and a copy. */
EXPORT float edgeseg_peak(float *p, int count)
{
    F@L@ x = load@L@(p), y = load@L@(p + @L@);
    @DECLARE@
    for (int i = 0; i < count; ++i) {
        @ADD@
    }
    store@L@(p, @SUM@);
    return p[0];
}
EXPORT void edgeseg_copy(float *to, const float *from, int count)
{
    for (int i = 0; i < count; i += @L@) store@L@(to + i, load@L@(from + i));
}
