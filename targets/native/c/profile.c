/* What the profile calls; it follows interface.c. Sums of products in registers come first: as many
 * chains as hide the latency of a product. */
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
EXPORT void edgeseg_put(struct edgeseg_network *network, const float *image)
{
    network_put(network->arena, image);
}
EXPORT void edgeseg_steps(struct edgeseg_network *network, int step)
{
    float *m = network->arena, *s = network->strips;
    const float *w = network->weights;
    enum { part = 0, parts = 1 };
    switch (step) {
@CASES@
    }
}
