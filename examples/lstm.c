/* One LSTM layer in C, held against the equations by rnnspect:

       rnnspect run --cell lstm --hidden-size 8 -i randn:50 --h0 randn --c0 randn -o case.npz --with-parameters -q
       python -m zipfile -e case.npz case
       cc -O2 -o lstm lstm.c -lm && ./lstm case
       rnnspect check case.npz -i case.npz:x --h0 case.npz:h0 --c0 case.npz:c0 --recorded case/y.npy           */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A .npy file of float32: ten bytes, a header that says the shape, the numbers. */
static float *load(const char *folder, const char *name, int shape[3]) {
    char path[512], header[65536] = {0};
    unsigned char start[10];
    snprintf(path, sizeof path, "%s/%s.npy", folder, name);
    FILE *file = fopen(path, "rb");
    if (!file || fread(start, 1, 10, file) != 10) { perror(path); exit(2); }
    size_t count = 1, length = start[8] + 256 * start[9];
    if (fread(header, 1, length, file) != length || !strstr(header, "<f4")) { fprintf(stderr, "%s: no float32\n", path); exit(2); }
    char *at = strchr(header, '(') + 1;
    for (int i = 0; i < 3; i++, at += strspn(at, ", ")) count *= shape[i] = *at == ')' ? 1 : (int)strtol(at, &at, 10);
    float *values = malloc(count * sizeof *values);
    if (!values || fread(values, sizeof *values, count, file) != count) { fprintf(stderr, "%s: too short\n", path); exit(2); }
    fclose(file);
    return values;
}

static void save(const char *folder, const float *y, int batch, int steps, int units) {
    char path[512], header[118];
    snprintf(path, sizeof path, "%s/y.npy", folder);
    FILE *file = fopen(path, "wb");
    if (!file) { perror(path); exit(2); }
    int used = snprintf(header, sizeof header, "{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %d, %d), }", batch, steps, units);
    fprintf(file, "\x93NUMPY%c%c%c%c%s%*s\n", 1, 0, 118, 0, header, 117 - used, "");
    fwrite(y, sizeof *y, (size_t)batch * steps * units, file);
    fclose(file);
}

static float sigmoid(float v) { return 1 / (1 + expf(-v)); }

int main(int argc, char **argv) {
    const char *in = argc > 1 ? argv[1] : "case";
    int xs[3], hs[3], any[3];
    float *x = load(in, "x", xs), *h = load(in, "h0", hs), *c = load(in, "c0", any);
    float *w_ih = load(in, "weight_ih_l0", any), *w_hh = load(in, "weight_hh_l0", any);
    float *b_ih = load(in, "bias_ih_l0", any), *b_hh = load(in, "bias_hh_l0", any);
    int B = xs[0], T = xs[1], I = xs[2], H = hs[2];
    float *y = malloc(sizeof *y * B * T * H), *gates = malloc(sizeof *gates * 4 * H);
    for (int b = 0; b < B; b++)
        for (int t = 0; t < T; t++) {
            float *xt = x + (b * T + t) * I, *ht = h + b * H, *ct = c + b * H;
            for (int g = 0; g < 4 * H; g++) { /* i f g o, H rows each */
                float sum = b_ih[g] + b_hh[g];
                for (int k = 0; k < I; k++) sum += w_ih[g * I + k] * xt[k];
                for (int k = 0; k < H; k++) sum += w_hh[g * H + k] * ht[k];
                gates[g] = sum;
            }
            for (int j = 0; j < H; j++) {
                ct[j] = sigmoid(gates[H + j]) * ct[j] + sigmoid(gates[j]) * tanhf(gates[2 * H + j]);
                ht[j] = y[(b * T + t) * H + j] = sigmoid(gates[3 * H + j]) * tanhf(ct[j]);
            }
        }
    save(in, y, B, T, H);
    return 0;
}
