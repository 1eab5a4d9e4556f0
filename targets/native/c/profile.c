/* What the profile calls; it follows interface.c and peak.c. */
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
