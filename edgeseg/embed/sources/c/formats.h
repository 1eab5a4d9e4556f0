/* How the values of a picture's pixels follow each other. Alpha is not looked at. */
enum {
    EDGESEG_RGB = 1,
    EDGESEG_RGBA = 2,
    EDGESEG_BGR = 3,
    EDGESEG_BGRA = 4,
    EDGESEG_GREY = 5,
    EDGESEG_BANDS = 6,    /* the network's own channels, as it was trained with them */
    EDGESEG_16_BITS = 16, /* added: two bytes a value, the low one first; white is @WHITE@ */
    EDGESEG_RGB16 = EDGESEG_RGB + EDGESEG_16_BITS,
    EDGESEG_GREY16 = EDGESEG_GREY + EDGESEG_16_BITS,
};
