// Before anything is drawn: the theme that was chosen here before.
try {
  const theme = localStorage.getItem("theme");
  if (theme) document.documentElement.dataset.theme = theme;
} catch {
  // A browser may forbid storage: then the system's theme stands.
}
