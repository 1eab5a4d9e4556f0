/* As in peak.c, with products of bytes: four in a lane. */
EXPORT float edgeseg_byte_peak(float *p, int count)
{
    F@L@ x = load@L@(p);
    I@L@ y = words@L@(p + @L@);
    @DECLARE@
    for (int i = 0; i < count; ++i) {
        @ADD@
    }
    I@L@ sum = @SUM@;
    store@L@(p, x + (float)sum[0]);
    return p[0];
}
