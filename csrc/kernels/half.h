/* half.h - the loops of tiles.h over vectors of half the table's width: half_dot_panel and so on.
 * For layers with few columns, and for rows that lie anywhere: half as wide a vector crosses half
 * as many cache lines.
 */
#define HALF
#define vi half_vi
#define vbytes half_vbytes
#define tile_store half_tile_store
#define tile_add half_tile_add
#define dot_sums half_dot_sums
#define dot_tile half_dot_tile
#define dot_panel half_dot_panel
#define outer_tile half_outer_tile
#define outer_panel half_outer_panel
#define row_sum_strip half_row_sum_strip
#define row_sum_tail half_row_sum_tail
#define row_sum half_row_sum
#define take_bit half_take_bit
#define inked_strip half_inked_strip
#define row_sums_strip half_row_sums_strip
#define row_sums half_row_sums
#define row_spread_strip half_row_spread_strip
#define row_spread half_row_spread
#define patch_strip half_patch_strip
#define patch_short_strip half_patch_short_strip
#define patch_sum half_patch_sum
#define patch_spread_strip half_patch_spread_strip
#define patch_spread half_patch_spread
#define column_strip half_column_strip
#define column_strips half_column_strips
#define column_sums half_column_sums
#define largest_of half_largest_of
#define pool_vector half_pool_vector
#define pool_strip half_pool_strip
#define pool_windows half_pool_windows
#define store_window half_store_window
#define whole_windows half_whole_windows
#define window_taps half_window_taps
#define taps_of half_taps_of
#define pair_sums half_pair_sums
#define finish_windows half_finish_windows
#define windows_tile half_windows_tile
#define dot_windows half_dot_windows
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"

#include "tiles.h"

#pragma GCC diagnostic pop
#undef HALF
#undef ENDS_IN_HALF
#undef vterm
#undef vi
#undef vbytes
#undef tile_store
#undef tile_add
#undef dot_sums
#undef dot_tile
#undef dot_panel
#undef outer_tile
#undef outer_panel
#undef row_sum_strip
#undef row_sum_tail
#undef row_sum
#undef take_bit
#undef inked_strip
#undef row_sums_strip
#undef row_sums
#undef row_spread_strip
#undef row_spread
#undef patch_strip
#undef patch_short_strip
#undef patch_sum
#undef patch_spread_strip
#undef patch_spread
#undef column_strip
#undef column_strips
#undef column_sums
#undef largest_of
#undef WINNERS
#undef pool_vector
#undef pool_strip
#undef pool_windows
#undef store_window
#undef whole_windows
#undef window_taps
#undef taps_of
#undef pair_sums
#undef finish_windows
#undef windows_tile
#undef dot_windows
