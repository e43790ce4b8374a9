// An image dropped or pasted anywhere on the page goes the way of the form's file.

let listening = false;

/** @param {FileList | File[]} files */
function bring(files) {
  const image = [...files].find((file) => file.type.startsWith("image/"));
  const form = document.querySelector("form[data-upload]");
  if (!image || !form) return false;
  const box = new DataTransfer();
  box.items.add(image);
  form.querySelector("input[type=file]").files = box.files;
  form.requestSubmit();
  return true;
}

export function acceptImages() {
  if (listening) return;
  listening = true;
  const mark = (on) => document.querySelector("form[data-upload]")?.classList.toggle("over", on);
  document.addEventListener("dragover", (event) => {
    if (![...event.dataTransfer.types].includes("Files")) return;
    event.preventDefault();
    mark(true);
  });
  document.addEventListener("dragleave", () => mark(false));
  document.addEventListener("drop", (event) => {
    mark(false);
    if (bring(event.dataTransfer.files)) event.preventDefault();
  });
  document.addEventListener("paste", (event) => {
    if (bring(event.clipboardData.files)) event.preventDefault();
  });
}
